"""Rewards: the same whatever the batch, one opening token, a pad that is no end (trap 31)."""

import json

import pytest
import torch
from test_inference_decode import some_prompts
from tiny_chat import TEMPLATE, make_model, make_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import Qwen2ForSequenceClassification

from snaketune.config.model import ModelSpec
from snaketune.data.example import Example, write_examples
from snaketune.inference import rewards as module
from snaketune.inference.rewards import reward, reward_tokens, score_rewards
from snaketune.models.load import load_reward_model
from snaketune.runtime.files import read_jsonl, write_jsonl

END = 0


def make_reward_model():
    config = make_model(300).config
    config.num_labels = 1
    config.pad_token_id = END  # as many models come: the pad token is the end token
    torch.manual_seed(2)
    return Qwen2ForSequenceClassification(config).eval()


def rows_with_ends():
    """Rows that end with the end token, as rendered conversations do; some end in others."""
    return [row + [END] * (i % 3 > 0) for i, row in enumerate(some_prompts(0, 12))]


def last_token_score(model, row):
    """From the hidden state of the last token, without any padding logic."""
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([row])).last_hidden_state
        return float(model.score(hidden[0, -1]))


def test_the_score_is_read_at_the_last_token_whatever_the_batch(monkeypatch):
    model, rows = make_reward_model(), rows_with_ends()
    expected = [last_token_score(model, row) for row in rows]
    for tokens in (1, 100, 10_000):
        monkeypatch.setitem(module._TOKENS, "cpu", tokens)
        found = dict(score_rewards(model, rows, END))
        assert [found[i] for i in range(len(rows))] == pytest.approx(expected, abs=1e-5)


def test_the_trap_is_real():
    """With the pad token left at the end token, the plain call reads one token early."""
    model = make_reward_model()
    row = [*some_prompts(0, 1)[0], END]
    with torch.no_grad():
        plain = float(model(input_ids=torch.tensor([row])).logits)
    assert abs(plain - last_token_score(model, row)) > 1e-3


def test_a_16_bit_head_does_not_make_good_replies_tie(tmp_path, monkeypatch):
    """Scores around 20 lie 0.125 apart in bfloat16; the head's sum in float32 tells them apart."""
    whole = make_reward_model()
    with torch.no_grad():
        whole.score.weight.mul_(3)
    whole.to(torch.bfloat16).save_pretrained(tmp_path)
    model = load_reward_model(ModelSpec(id=str(tmp_path), dtype="bfloat16"), torch.device("cpu"))
    assert model.dtype is torch.bfloat16
    monkeypatch.setitem(module._TOKENS, "cpu", 1)  # one at a time: hidden states are 16 bits too
    rows = rows_with_ends()[1::3]
    rows = [[*row[:-2], token, END] for row in rows for token in range(3, 40)]
    found = dict(score_rewards(model, rows, END))
    with torch.no_grad():
        hidden = [model.model(torch.tensor([row])).last_hidden_state[0, -1] for row in rows]
        rounded = [float(whole.score(h)) for h in hidden]
        exact = [float(whole.score.weight.float()[0] @ h.float()) for h in hidden]
    assert len(set(rounded)) < len(set(found.values())) == len(rows)
    assert [found[i] for i in range(len(rows))] == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("printed", [True, False], ids=["template prints it", "it does not"])
@pytest.mark.parametrize("added", [True, False], ids=["tokenizer adds it", "it does not"])
def test_exactly_one_opening_token(printed, added):
    tokenizer = make_tokenizer(bos_token="<think>")
    start = tokenizer.bos_token_id
    if added:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<think> $A", special_tokens=[("<think>", start)]
        )
    tokenizer.chat_template = ("{{ bos_token }}" if printed else "") + TEMPLATE
    turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    (row,) = reward_tokens(tokenizer, [turns])
    assert row.count(start) == (1 if printed or added else 0)
    assert row[: row.count(start)] == [start] * row.count(start)
    assert tokenizer.decode(row[row.count(start) :]).startswith("<|im_start|>user\none<|im_end|>")


def run(folder, replies, version=0, name="rewards"):
    """Rewards of replies, each (example, sample, text)."""
    if not (folder / "model").exists():
        make_reward_model().save_pretrained(folder / "model")
        make_tokenizer().save_pretrained(folder / "model")
    write_examples(folder / "examples.parquet", [Example("a", "one"), Example("b", "two")])
    lines = [{"id": i, "sample": s, "output": o} for i, s, o in replies]
    write_jsonl(folder / "predictions.jsonl", lines)
    reward(
        ModelSpec(id=str(folder / "model")),
        "",
        folder / "predictions.jsonl",
        folder / "examples.parquet",
        folder / f"{name}-work",
        folder / f"{name}.jsonl",
        folder / f"{name}.meta.json",
        version,
    )
    meta = json.loads((folder / f"{name}.meta.json").read_text())
    return list(read_jsonl(folder / f"{name}.jsonl")), meta


def test_a_reply_longer_than_the_context_is_counted_and_never_cut(tmp_path, capsys):
    found, meta = run(tmp_path, [("a", 0, "apples"), ("b", 0, "apples " * 600)])
    assert [r["reward"] is None for r in found] == [False, True]
    assert [r["finish"] for r in found] == ["scored", "overlong"]
    assert meta["finishes"] == {"overlong": 1, "scored": 1} and meta["context_length"] == 512
    said = capsys.readouterr().out
    assert "1 replies with their prompts are longer than the model's context of 512" in said
    assert "b (sample 0)" in said


def test_running_out_of_memory_halves_the_pass(monkeypatch):
    model, rows = make_reward_model(), rows_with_ends()
    expected, work, widest = dict(score_rewards(model, rows, END)), module._score_group, []

    def short_of_memory(model, group, *rest):
        widest.append(len(group))
        if len(group) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(model, group, *rest)

    monkeypatch.setattr(module, "_score_group", short_of_memory)
    found = dict(score_rewards(model, rows, END))
    assert max(widest) > 3 and found.keys() == expected.keys()
    assert all(found[i] == pytest.approx(expected[i], abs=1e-5) for i in expected)


def test_rewards_from_files_to_files(tmp_path):
    replies = [("a", 0, "apples"), ("a", 1, " "), ("b", 0, "pears"), ("b", 1, "apples")]
    found, meta = run(tmp_path, replies)
    assert [(r["id"], r["sample"]) for r in found] == [(i, s) for i, s, _ in replies]
    assert [r["reward"] is None for r in found] == [False, True, False, False]
    tokenizer, model = make_tokenizer(), make_reward_model()
    text = "<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\npears<|im_end|>\n"
    row = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert found[2]["reward"] == pytest.approx(last_token_score(model, row), abs=1e-5)
    assert meta["dtype"] == "float32" and meta["finishes"] == {"empty": 1, "scored": 3}
