"""generate and judge from files to files: order, resume after a kill, overlong prompts, meta."""

import json

import pytest
import torch
from tiny_chat import make_model, make_tokenizer, questions, save_chat_model
from transformers import GenerationConfig, Qwen2ForSequenceClassification

from snaketune.config.evaluation import JudgeSpec
from snaketune.config.model import ModelSpec
from snaketune.data.example import Example, write_examples
from snaketune.inference.generate import GenerationProtocol, generate, until_next
from snaketune.inference.judge import judge
from snaketune.inference.ledger import Ledger, wanted_by_key
from snaketune.inference.session import LoadableState
from snaketune.inference.shards import WHOLE, Shard, join_shards
from snaketune.prompts.form import Form, next_example
from snaketune.prompts.tokenise import training_row
from snaketune.prompts.wording import JUDGE_INSTRUCTION
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl, write_json, write_jsonl


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def files(tmp_path):
    shots = [{"index": i, "id": f"s{i}", "question": q, "answer": "x"} for i, q in enumerate("ab")]
    write_json(tmp_path / "few_shot.json", shots)
    examples = [Example(f"e{i}", q) for i, q in enumerate(questions(24))]
    write_examples(tmp_path / "examples.parquet", examples)
    return tmp_path


def protocol(**changes):
    settings = {
        "task": "math",
        "system": "add",
        "few_shot": 2,
        "sample": None,
        "max_new_tokens": 12,
        "batch_size": "auto",
    }
    return GenerationProtocol(**settings | changes)


def run(model, files, name="p", work="work", shard=WHOLE, **changes):
    generate(
        LoadableState(ModelSpec(id=str(model)), "none", "none", []),
        protocol(**changes),
        files / "examples.parquet",
        files / "few_shot.json",
        files / work,
        files / f"{name}.jsonl",
        files / f"{name}.meta.json",
        shard,
    )
    meta = json.loads((files / f"{name}.meta.json").read_text())
    return list(read_jsonl(files / f"{name}.jsonl")), meta


def plain_reply(model_folder, text, new_tokens):
    tokenizer, model = make_tokenizer(), make_model(320)
    model = type(model).from_pretrained(model_folder).eval()
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    config = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, eos_token_id=[0, 2], pad_token_id=0
    )
    out = model.generate(**ids, generation_config=config)[0, ids["input_ids"].shape[1] :]
    return tokenizer.decode(out, skip_special_tokens=True)


def test_replies_stand_in_order_and_equal_plain_ones(model, files):
    records, meta = run(model, files)
    assert [r["id"] for r in records] == [f"e{i}" for i in range(24)]
    asked = questions(24)
    for i in (0, 7, 23):
        prompt = (
            "<|im_start|>system\nadd<|im_end|>\n"
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nx<|im_end|>\n"
            "<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\nx<|im_end|>\n"
            f"<|im_start|>user\n{asked[i]}<|im_end|>\n<|im_start|>assistant\n"
        )
        assert records[i]["output"] == plain_reply(model, prompt, 12)
    assert meta["end_tokens"] == [0, 2], "the tokenizer's end token and the template's"
    assert meta["finishes"] == {
        kind: sum(r["finish"] == kind for r in records)
        for kind in sorted({r["finish"] for r in records})
    }
    assert meta["prefix_tokens"] > 32
    assert (meta["dtype"], meta["device"]) == ("float32", "cpu")
    assert meta["batch_sizes"] == [64] and meta["largest_batch"] == 24, "found by itself"
    _, fixed = run(model, files, name="fixed", batch_size=5)
    assert fixed["batch_sizes"] == [5] and fixed["largest_batch"] == 5
    assert meta["example_prompt"].startswith("<|im_start|>system\nadd")


def test_plain_text_shows_worked_examples_as_it_is_trained(model, files):
    """Each is the prompt with its answer behind it; a reply ends where it begins a next one."""
    worded = "Question: {question}\nAnswer:"
    plain = {"chat": False, "system": None, "prompt": worded}
    records, meta = run(model, files, **plain)
    asked = questions(24)
    shown = "Question: a\nAnswer: x\n\nQuestion: b\nAnswer: x\n\nQuestion: {}\nAnswer:"
    assert meta["example_prompt"] == shown.format(asked[0])
    for i in (0, 7, 23):
        whole = records[i]["output"] + records[i].get("beyond", "")
        assert whole == plain_reply(model, shown.format(asked[i]), 12)
    tokenizer = make_tokenizer()
    form = Form("math", prompt=worded, chat=False)
    row = training_row(tokenizer, Example("a", "a", answer="x"), form)
    assert tokenizer.decode(row.input_ids[:-1]) == "Question: a\nAnswer: x"


@pytest.mark.parametrize(
    ("prompt", "reply", "kept"),
    [
        ("Question: {question}\nAnswer:", " 4\n\nQuestion: What", " 4"),
        ("Question: {question}\nAnswer:", " a\n\nb\nQuestion: no", None),
        ("{question}", "4\n\nWhat is 1?", "4"),
        (None, "4\nis it", None),
        ("Solve.\n\n{question} =", "4\n\nSolve.\n\n2 =", "4"),
    ],
)
def test_a_reply_of_plain_text_ends_where_it_begins_a_next_example(prompt, reply, kept):
    found = until_next({"output": reply}, next_example(Form("open_qa", prompt=prompt, chat=False)))
    if kept is None:
        assert found == {}
        return
    assert found == {"output": kept, "beyond": reply[len(kept) :], "finish": "stop"}


def test_a_sample_keeps_its_own_order(model, files):
    records, _ = run(model, files, sample={"count": 5, "seed": 1, "fraction": None})
    every, _ = run(model, files)
    by_id = {r["id"]: r for r in every}
    assert [r["id"] for r in records] != sorted(r["id"] for r in records)
    assert records == [by_id[r["id"]] for r in records]


def test_a_prompt_longer_than_the_context_is_counted_and_never_cut(tmp_path, files, capsys):
    small = save_chat_model(tmp_path / "small", max_position_embeddings=44)
    records, meta = run(small, files, few_shot=0, max_new_tokens=40)
    overlong = [r for r in records if r["finish"] == "overlong"]
    assert 0 < len(overlong) < len(records)
    assert all(r["output"] == "" and r["prompt_tokens"] >= 44 for r in overlong)
    assert all(r["prompt_tokens"] + r["new_tokens"] <= 44 for r in records if r not in overlong)
    assert meta["finishes"]["overlong"] == len(overlong)
    said = capsys.readouterr().out
    assert f"{len(overlong)} prompts are longer" in said
    assert all(r["id"] in said for r in overlong)


def test_samples_do_not_depend_on_their_number_or_on_shards(model, files):
    settings = {"temperature": 0.8, "top_p": 0.95, "seed": 7}
    eight, _ = run(model, files, name="eight", samples=4, **settings)
    keys = [(r["id"], r["sample"]) for r in eight]
    assert keys == [(f"e{i}", s) for i in range(24) for s in range(4)]
    two, _ = run(model, files, name="two", samples=2, batch_size=3, **settings)
    assert two == [r for r in eight if r["sample"] < 2]
    settings |= {"samples": 2, "work": "parts"}  # where the eight are not read
    for number in range(5):
        run(model, files, f"part{number}", shard=Shard(number, 5), **settings)
    parts, metas = ([files / f"part{i}.{end}" for i in range(5)] for end in ("jsonl", "meta.json"))
    join_shards(parts, metas, files / "joined.jsonl", files / "joined.meta.json")
    assert list(read_jsonl(files / "joined.jsonl")) == two


def test_samples_need_a_temperature(model, files):
    with pytest.raises(UserError, match="samples: 4 without a temperature"):
        run(model, files, samples=4)


def test_work_of_other_settings_is_not_continued(model, files):
    folder = files / "work" / "0123456789ab"
    folder.mkdir(parents=True)
    Ledger(folder, "1of1", wanted_by_key([("e0", 0)])).append({"id": "e0", "output": "stale"})
    records, meta = run(model, files)
    assert records[0]["output"] != "stale" and meta["resumed_records"] == 0


def test_too_few_worked_examples(model, files):
    with pytest.raises(UserError, match=r"few_shot.json: found 2 few-shot examples, expected 3"):
        run(model, files, few_shot=3)


def ask_judge(folder, files, replies, sees="prompt_and_response", **more):
    write_jsonl(files / "replies.jsonl", replies)
    write_examples(files / "prompts.parquet", [Example(r["id"], f"how {r['id']}") for r in replies])
    (files / "guideline.txt").write_text("the boy has apples\n")
    judge(
        LoadableState(ModelSpec(id=str(folder)), "none", "none", []),
        JudgeSpec(model="j", sees=sees, max_new_tokens=4),
        2,
        files / "replies.jsonl",
        files / "prompts.parquet",
        files / "guideline.txt",
        files / "work",
        files / "verdicts.jsonl",
        files / "verdicts.meta.json",
        **more,
    )
    meta = json.loads((files / "verdicts.meta.json").read_text())
    return list(read_jsonl(files / "verdicts.jsonl")), meta


def test_the_judge_is_asked_about_every_reply_that_is_not_blank(model, tmp_path):
    replies = [{"id": f"r{i}", "output": o} for i, o in enumerate(["one", " \n", "two", ""])]
    verdicts, meta = ask_judge(model, tmp_path, replies)
    assert [v["id"] for v in verdicts] == ["r0", "r1", "r2", "r3"]
    assert [v["raw"] is None for v in verdicts] == [False, True, False, True]
    shown = meta["example_prompt"]
    assert shown.startswith(f"<|im_start|>system\nthe boy has apples\n\n{JUDGE_INSTRUCTION}<|im_")
    assert "### Prompt:\nhow r0\n\n### Response:\none<|im_end|>" in shown
    assert shown.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n"), "thinking is off"
    assert sum(meta["finishes"].values()) == 2
    _, alone = ask_judge(model, tmp_path, replies, sees="response")
    assert "how r0" not in alone["example_prompt"]


def test_the_judge_sees_the_prefix_that_opened_a_reply(model, tmp_path):
    _, meta = ask_judge(model, tmp_path, [{"id": "r0", "output": "one"}], reply_prefix="the boy:")
    assert "### Response:\nthe boy: one<|im_end|>" in meta["example_prompt"]


def test_a_reply_too_long_for_the_judge_is_counted_and_never_cut(model, tmp_path, capsys):
    replies = [{"id": "r0", "output": "one"}, {"id": "r1", "output": "one two " * 600}]
    verdicts, meta = ask_judge(model, tmp_path, replies)
    assert isinstance(verdicts[0]["raw"], str) and verdicts[1]["raw"] is None
    assert verdicts[1]["finish"] == "overlong" and meta["finishes"]["overlong"] == 1
    said = capsys.readouterr().out
    assert "1 replies with their prompts are longer" in said and "r1" in said


def test_verdicts_made_elsewhere_are_taken_and_the_judge_is_not_loaded(tmp_path):
    given = ["SAFE", "unsafe, I think"]
    replies = [{"id": f"r{i}", "output": "one", "verdict": v} for i, v in enumerate(given)]
    nowhere = tmp_path / "no model here"
    verdicts, meta = ask_judge(nowhere, tmp_path, replies)
    assert [v["raw"] for v in verdicts] == given
    assert meta == {"made": "elsewhere", "resumed_records": 0}


def test_replies_without_a_verdict_are_still_judged(model, tmp_path):
    replies = [{"id": "r0", "output": "one", "verdict": "SAFE"}, {"id": "r1", "output": "two"}]
    verdicts, meta = ask_judge(model, tmp_path, replies)
    assert verdicts[0]["raw"] == "SAFE" and isinstance(verdicts[1]["raw"], str)
    assert sum(meta["finishes"].values()) == 1
    assert "how r1" in meta["example_prompt"]


def test_the_judges_text_keeps_its_think_tags_and_drops_its_end(tmp_path):
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer), hidden_size=32, tie_word_embeddings=False)
    says(model, tokenizer, ["</think>", "Ġsafe", "<|im_end|>"])
    folder = save_chat_model(tmp_path / "judge", model)
    verdicts, _ = ask_judge(folder, tmp_path, [{"id": "r0", "output": "one"}])
    assert verdicts[0]["raw"] == "</think> safe"


def says(model, tokenizer, tokens):
    """Makes a model that counts: whatever it was asked, the reply is `tokens`."""
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert tokenizer.unk_token_id not in ids and None not in ids
    newline = tokenizer("\n\n")["input_ids"][-1]
    with torch.no_grad():
        for weight in model.model.layers.parameters():
            weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.randn(len(tokenizer), 32))
        model.lm_head.weight.zero_()
        for before, after in zip([newline, *ids[:-1]], ids, strict=True):
            model.lm_head.weight[after] += model.model.embed_tokens.weight[before]


def test_a_reward_model_is_no_judge(tmp_path):
    folder = tmp_path / "reward"
    config = make_model(320).config
    config.num_labels = 1
    Qwen2ForSequenceClassification(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    with pytest.raises(UserError, match="found Qwen2ForSequenceClassification, expected a model"):
        ask_judge(folder, tmp_path, [{"id": "r0", "output": "one"}])
