"""Thoughts that use up their budget are closed by force, and the answer follows: held against plain
`generate` of transformers, told in two calls."""

import json
from functools import partial

import pytest
import torch
from model_templates import REAL
from test_rows import make_tokenizer as make_bytes
from tiny_chat import TEMPLATE, make_model, make_tokenizer, questions, save_chat_model
from transformers import GenerationConfig

from snaketune.config.model import ModelSpec
from snaketune.data.example import Example, write_examples
from snaketune.inference.decode import Prompt
from snaketune.inference.generate import GenerationProtocol, generate, spoken
from snaketune.inference.pick import greedy
from snaketune.inference.plain import row_by_row
from snaketune.inference.session import LoadableState, Session
from snaketune.models.describe import describe_model
from snaketune.prompts.form import Opening
from snaketune.prompts.thoughts import ThoughtBudget, ThoughtWatch
from snaketune.report.card import _read
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl

OPENED = TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")
CLOSING = "\n</think>\n\n"
BYTES = make_bytes(REAL["Qwen3"][0])
END = BYTES.eos_token_id
THOUGHT, ANSWER = 6, 4


def ids(text):
    return BYTES(text, add_special_tokens=False)["input_ids"]


def budget(opened=True, tokens=THOUGHT, answer=ANSWER):
    decode = partial(BYTES.decode, skip_special_tokens=False)
    return ThoughtBudget(tokens, answer, ids(CLOSING), opened, decode)


def written(picks, limit):
    """What becomes of a model that would write these tokens, one after another."""
    watch, tokens, finish, picks = ThoughtWatch(limit), [], None, list(picks)
    while finish is None:
        token = watch.next(picks[0], tokens)
        if token == picks[0]:
            picks.pop(0)  # what is put in is not the model's
        tokens.append(token)
        watch.look(tokens)
        finish = watch.finish(tokens, [END])
    return tokens, finish, watch


def said(picks, limit):
    tokens, finish, watch = written(picks, limit)
    shown = tokens[:-1] if finish == "stop" else tokens
    before = Opening("assistant\n<think>\n" if limit.opened else "assistant\n")
    return spoken(BYTES, shown, before, watch), finish


def test_a_thought_within_its_budget_is_left_alone():
    """Of exactly so many tokens, too."""
    for thought in ("hm", "123456"):
        found, finish = said([*ids(f"{thought}</think>42"), END], budget())
        assert found["output"] == "42" and finish == "stop"
        assert (found["thoughts"], found["thought_tokens"]) == (thought, len(thought))
        assert found["thoughts_over_budget"] is False


def test_a_longer_one_is_closed_and_the_answer_follows():
    found, finish = said([*ids("1234567"), END], budget())
    assert found == {
        "output": "7",
        "thoughts": "123456",
        "thoughts_ended": True,
        "thought_tokens": 6,
        "thoughts_over_budget": True,
    }
    assert finish == "stop"


@pytest.mark.parametrize(("wanted", "finish"), [("abc", "stop"), ("abcd", "length")])
def test_the_answer_has_its_own_length(wanted, finish):
    for thought, rest in (("hm</think>", ""), ("123456", "")):
        found = said([*ids(thought + wanted + rest), END, END], budget())
        assert found[0]["output"] == wanted and found[1] == finish


def test_who_answers_at_once_has_no_thought():
    found, finish = said(ids("abcdefgh"), budget(opened=False))
    assert found == {"output": "abcd"} and finish == "length"


def test_a_thought_that_the_model_opens_itself_is_held_to_the_budget():
    limit = budget(opened=False, tokens=len("<think>") + 3)
    found, _ = said([*ids("<think>abcdef"), END], limit)
    assert (found["thoughts"], found["output"]) == ("<think>abc", "def")
    inside, finish = said([*ids("<think>ab"), END], limit)
    assert (inside["output"], inside["thoughts_ended"], finish) == ("", False, "stop")


@pytest.mark.parametrize("name", ["gpt-oss", "Gemma 4"])
def test_channels_are_closed_as_tags_are(name):
    template, _, special, closing = REAL[name]
    tokenizer = make_bytes(template, special=special)
    decode = partial(tokenizer.decode, skip_special_tokens=False)
    encode = partial(tokenizer, add_special_tokens=False)
    opens = {"gpt-oss": "<|channel|>analysis<|message|>", "Gemma 4": "<|channel>thought\n"}[name]
    closes = encode(closing)["input_ids"]
    limit = ThoughtBudget(len(encode(opens)["input_ids"]) + 2, 3, closes, False, decode)
    tokens, _, watch = written(encode(f"{opens}abcdef")["input_ids"], limit)
    assert decode(tokens) == f"{opens}ab{closing}cde"
    found = spoken(tokenizer, tokens, Opening("model\n"), watch)
    assert (found["output"], found["thoughts"]) == ("cde", f"{opens}ab")
    for thought in ("a", "ab"):
        own = f"{opens}{thought}{closing.lstrip()}cde"
        ended, _, watch = written(encode(f"{own}f")["input_ids"], limit)
        assert decode(ended) == own and not watch.over


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = save_chat_model(tmp_path_factory.mktemp("model"))
    (model / "opened.jinja").write_text(OPENED)
    return model


def asked(folder, to, name, count=12, **changes):
    write_examples(to / "examples.parquet", [Example(f"e{i}", q) for i, q in enumerate(QUESTIONS)])
    settings = {"task": "open_qa", "system": "", "few_shot": 0, "sample": None}
    settings |= {"max_new_tokens": ANSWER, "batch_size": "auto", "thinking": {"budget": THOUGHT}}
    generate(
        LoadableState(spec_of(folder), "none", "none", []),
        GenerationProtocol(**settings | changes),
        to / "examples.parquet",
        None,
        to / f"{name}.work",
        to / f"{name}.jsonl",
        to / f"{name}.json",
    )
    return list(read_jsonl(to / f"{name}.jsonl")), json.loads((to / f"{name}.json").read_text())


QUESTIONS = questions(12)


def spec_of(folder):
    return ModelSpec(id=str(folder), chat_template=str(folder / "opened.jinja"))


def plain(model, tokens, new):
    config = GenerationConfig(
        max_new_tokens=new, do_sample=False, eos_token_id=[0, 2], pad_token_id=0
    )
    given = torch.tensor([tokens])
    return model.generate(given, generation_config=config)[0, len(tokens) :].tolist()


def test_replies_are_those_of_plain_generation_in_two_calls(folder, tmp_path):
    found, meta = asked(folder, tmp_path, "p")
    tokenizer = make_tokenizer()
    model = type(make_model(320)).from_pretrained(folder).eval()
    over = 0
    for question, reply in zip(QUESTIONS, found, strict=True):
        text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n<think>\n"
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        thought = plain(model, prompt, THOUGHT)
        if {0, 2} & set(thought) or "</think>" in tokenizer.decode(thought):
            continue
        over += 1
        closed = [*prompt, *thought, *tokenizer(CLOSING, add_special_tokens=False)["input_ids"]]
        answer = tokenizer.decode(plain(model, closed, ANSWER), skip_special_tokens=True)
        assert reply["output"] == answer.lstrip("\n")
        assert reply["thoughts"] == tokenizer.decode(thought)
        assert reply["thoughts_over_budget"] and reply["thought_tokens"] == THOUGHT
    assert over >= 6, "the test shows too little"
    assert meta["protocol"]["thinking"] == {"budget": THOUGHT}


def test_batches_rows_and_samples_of_any_number_are_alike(folder, tmp_path):
    (first, _), (single, _) = (
        asked(folder, tmp_path, "p"),
        asked(folder, tmp_path, "q", batch_size=1),
    )
    assert first == single
    drawn = {"temperature": 1.0, "seed": 1}
    two, _ = asked(folder, tmp_path, "r", samples=2, **drawn)
    three, _ = asked(folder, tmp_path, "s", samples=3, batch_size=2, **drawn)
    assert two == [r for r in three if r["sample"] < 2]


def test_row_by_row_gives_the_same(folder):
    tokenizer, model = make_tokenizer(), make_model(320)
    closing = tokenizer(CLOSING, add_special_tokens=False)["input_ids"]
    limit = ThoughtBudget(THOUGHT, ANSWER, closing, True, tokenizer.decode)
    prompt = tokenizer("how many apples", add_special_tokens=False)["input_ids"]
    (reply,) = row_by_row(model, [Prompt(0, prompt, limit.longest, budget=limit)], greedy, [])
    assert reply.tokens[THOUGHT : THOUGHT + len(closing)] == closing
    assert len(reply.tokens) == limit.longest and reply.thought.answer_at == THOUGHT + len(closing)


def test_another_budget_makes_replies_anew(folder, tmp_path):
    _, meta = asked(folder, tmp_path, "p")
    _, again = asked(folder, tmp_path, "p", thinking={"budget": THOUGHT + 1})
    assert (meta["resumed_records"], again["resumed_records"]) == (0, 0)
    _, same = asked(folder, tmp_path, "p", thinking={"budget": THOUGHT + 1})
    assert same["resumed_records"] == len(QUESTIONS)


def test_a_template_without_thoughts_is_refused_when_the_model_is_checked(folder, tmp_path):
    (tmp_path / "plain.jinja").write_text(TEMPLATE.split("{% if enable")[0] + "{% endif %}")
    spec = ModelSpec(id=str(folder), chat_template=str(tmp_path / "plain.jinja"))
    with pytest.raises(UserError, match="found a budget of thoughts and a chat template") as found:
        describe_model(spec, thoughts=[{}])
    assert "\n" not in str(found.value)
    assert describe_model(spec)["template_hash"]
    assert describe_model(spec_of(folder), thoughts=[{}])["template_hash"]


def test_a_backend_that_cannot_close_thoughts_refuses(folder):
    class Other(Session):
        def generate(self, requests, batch_size, sampling):
            yield from ()

        def describe(self):
            return {}

    session = Other("m", make_tokenizer(), [0], 100)
    with pytest.raises(UserError, match="expected a backend that closes thoughts by force"):
        list(session.replies([[1]], 4, "auto", budgets=[budget()]))
    assert not list(session.replies([[1]], 4, "auto"))


def test_the_model_card_tells_the_budget():
    told = {"classes": None, "task": "math", "sampling": None, "max_new_tokens": 9}
    assert _read(told | {"thinking": {"budget": 5}}).endswith("9 new tokens behind 5 of thoughts")
    assert _read(told | {"thinking": "on"}).endswith("at most 9 new tokens")
