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
from snaketune.errors import UserError
from snaketune.inference import rewards as module
from snaketune.inference.reward_job import reward
from snaketune.inference.rewards import reward_tokens, score_rewards
from snaketune.jsonl import read_jsonl, write_jsonl
from snaketune.modeling.load import load_reward_model

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
        found = dict(score_rewards(model, rows, END, 512))
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
    found = dict(score_rewards(model, rows, END, 512))
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


def test_a_reply_longer_than_the_context_is_not_cut():
    with pytest.raises(UserError, match=r"reply 1: found 9 tokens .* context of 8"):
        list(score_rewards(make_reward_model(), [[1] * 8, [1] * 9], END, 8))


def test_rewards_from_files_to_files(tmp_path):
    make_reward_model().save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    write_examples(tmp_path / "examples.parquet", [Example("a", "one"), Example("b", "two")])
    replies = [
        {"id": i, "sample": s, "output": o}
        for i, s, o in [("a", 0, "apples"), ("a", 1, " "), ("b", 0, "pears"), ("b", 1, "apples")]
    ]
    write_jsonl(tmp_path / "predictions.jsonl", replies)
    reward(
        ModelSpec(id=str(tmp_path / "model")),
        "",
        "",
        tmp_path / "predictions.jsonl",
        tmp_path / "examples.parquet",
        tmp_path / "work",
        tmp_path / "rewards.jsonl",
        tmp_path / "meta.json",
    )
    found = list(read_jsonl(tmp_path / "rewards.jsonl"))
    assert [(r["id"], r["sample"]) for r in found] == [(r["id"], r["sample"]) for r in replies]
    assert [r["reward"] is None for r in found] == [False, True, False, False]
    tokenizer, model = make_tokenizer(), make_reward_model()
    text = "<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\npears<|im_end|>\n"
    row = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert found[2]["reward"] == pytest.approx(last_token_score(model, row), abs=1e-5)
    assert json.loads((tmp_path / "meta.json").read_text())["dtype"] == "float32"
