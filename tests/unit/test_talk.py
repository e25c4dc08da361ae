"""A chat with a run and its base: each answers as plain transformers does, behind its own
replies."""

import io
import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_chat import save_chat_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from snaketune.config.model import ModelSpec
from snaketune.inference import talk as talk_module
from snaketune.inference.session import LoadableState
from snaketune.inference.talk import Stream, Terminal, talk
from snaketune.plan.states import WEIGHT_FILES, weights_there
from snaketune.prompts.form import Form
from snaketune.runtime.errors import UserError

NEW = 12
FORM = Form(task="open_qa", system="the boy", prompt="how many {question}")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    """An adapter that changes replies."""
    folder = tmp_path_factory.mktemp("run") / "train/first/final"
    torch.manual_seed(5)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False),
    )
    model.save_pretrained(folder)
    (folder.parent / "train_meta.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def short(monkeypatch) -> None:
    monkeypatch.setattr(talk_module, "_LONGEST", NEW)


def chat(base, adapter, *lines: str, form: Form = FORM, weights="adapter", beside=True) -> str:
    state = LoadableState(ModelSpec(id=str(base)), "none", weights, files_of(adapter, weights))
    shown = io.StringIO()
    typed = io.StringIO("".join(f"{line}\n" for line in lines))
    talk("first", state, form, beside, Terminal(typed, shown))
    return shown.getvalue()


def files_of(adapter, weights) -> list[Path]:
    return [adapter / name for name in WEIGHT_FILES[weights]]


def plainly(base, adapter, *asked: str) -> list[str]:
    """The replies to a conversation, by transformers and PEFT alone."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    turns, replies = [{"role": "system", "content": "the boy"}], []
    for line in asked:
        turns.append({"role": "user", "content": f"how many {line}"})
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        tokens = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
        found = model.generate(**tokens, max_new_tokens=NEW, do_sample=False, eos_token_id=ends)
        new = found[0, tokens["input_ids"].shape[1] :]
        replies.append(tokenizer.decode(new, skip_special_tokens=True))
        turns.append({"role": "assistant", "content": replies[-1]})
    return replies


def replies(text: str, name: str) -> list[str]:
    """What followed a name, up to the next prompt."""
    found = text.split(f"\n{name}> ")[1:]
    for other in ("base", "tuned", "you"):
        found = [part.partition(f"\n{other}> ")[0] for part in found]
    return [part.rstrip("\n").removesuffix(CUT) for part in found]


CUT = f" (cut here: a reply has {NEW} tokens at most)"


def shown(text: str) -> str:
    return talk_module.visible(text)


def test_both_answer_as_plain_transformers_do_each_behind_its_own_replies(base, adapter):
    said = chat(base, adapter, "apples", "pears and apples")
    for name, folder in (("base", None), ("tuned", adapter)):
        expected = plainly(base, folder, "apples", "pears and apples")
        assert [r.strip() for r in replies(said, name)] == [shown(r).strip() for r in expected]
    assert replies(said, "base") != replies(said, "tuned")
    assert "first beside its base, on cpu" in said
    assert "system 'the boy', prompt 'how many {question}'" in said


def test_commands(base, adapter):
    said = chat(base, adapter, "apples", "/reset", "/base", "apples", "/x", "", "/quit", "apples")
    first, *more = replies(said, "base")
    assert [first.splitlines()[0]] == [more[0].splitlines()[0]], "begun anew"
    assert len(replies(said, "tuned")) == 1, "and the base alone"
    assert "/x: unknown; known: /reset, /base, /tuned, /both, /quit" in said
    assert said.count("you> apples") == 2, "what stands behind /quit is not read"


def test_a_conversation_that_fills_the_context_says_so(base, adapter):
    said = chat(base, adapter, "apples " * 600, "/reset", "pears", form=Form(task="open_qa"))
    assert said.count("no room for a reply in the model's 512 tokens") == 2
    assert "no room" not in said.partition("/reset\n")[2], "and one that is begun anew does not"


def test_a_model_trained_whole_has_its_base_beside_it_and_one_alone_none(base, tmp_path):
    other = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(9)
    with torch.no_grad():
        other.lm_head.weight.copy_(torch.randn_like(other.lm_head.weight))
    other.save_pretrained(tmp_path)
    said = chat(base, tmp_path, "apples", weights="full")
    expected = shown(plainly(base, None, "apples")[0]).strip()
    assert replies(said, "base")[0].strip() == expected != replies(said, "tuned")[0].strip()
    alone = chat(base, tmp_path, "apples", weights="none", beside=False)
    assert replies(alone, "tuned")[0].strip() == expected and "base" not in alone.split("you>")[1]


def test_plain_text_ends_where_a_next_example_would_begin(base, adapter):
    form = Form(task="open_qa", prompt="add {question}", chat=False, reply_prefix="take")
    said = chat(base, adapter, "one", "one", form=form)
    first, second = replies(said, "tuned")
    assert first == second and "\n\nadd" not in first, "each line by itself"
    assert "plain text: each line by itself" in " ".join(said.split())


def test_what_a_reply_types_can_move_no_cursor():
    shown_ = io.StringIO()
    Terminal(io.StringIO(), shown_).say("a\x1b[2Jb\u202ec\r")
    assert shown_.getvalue() == "a⟨U+001B⟩[2Jb⟨U+202E⟩c⟨U+000D⟩\n"


def test_a_stream_tells_each_character_once_and_whole(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = "how many äpples 🍐 are safe"
    told: list[str] = []
    stream = Stream(tokenizer, [0], told.append)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    for token in [*tokens, 0]:
        stream.hear(token)
        assert text.startswith("".join(told)), "no half of a character"
    stream.show(text)
    assert "".join(told) == text and len([part for part in told if part]) > 5


class Run:
    adapter = None
    choose: str | None = None


def test_a_run_that_is_not_trained_yet_is_refused_in_a_line(adapter):
    folder, run = str(adapter.parents[2]), Run()
    assert weights_there(folder, "first", run, "adapter") == [
        str(file) for file in files_of(adapter, "adapter")
    ]
    with pytest.raises(UserError, match=r"run second is not trained yet: found no .*second/train"):
        weights_there(folder, "second", run, "adapter")
    run.choose = "math.accuracy"
    with pytest.raises(UserError, match=r"chosen\.json; expected a finished training"):
        weights_there(folder, "first", run, "adapter")
    (adapter.parent / "chosen.json").write_text(json.dumps({"snapshot": "1of2"}))
    with pytest.raises(UserError, match="snapshots/1of2"):
        weights_there(folder, "first", run, "adapter")
    assert weights_there(folder, "second", Run(), "none") == []
