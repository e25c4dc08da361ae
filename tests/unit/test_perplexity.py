"""Plain text: rows of continued training, and the perplexity of held-out text, against plain
forward passes and closed forms."""

import json
from math import exp, log

import numpy as np
import pytest
import torch
from test_rows import CHATML, make_tokenizer
from tiny_chat import questions, save_chat_model
from tokenizers import processors
from transformers import AutoModelForCausalLM

from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import ModelSpec
from snaketune.data.example import Example, write_examples
from snaketune.inference.score_options import OptionsProtocol, score_options, text_windows
from snaketune.inference.session import LoadableState
from snaketune.models.folder import load_tokenizer
from snaketune.prompts.form import Form, text_tokens
from snaketune.prompts.rows import IGNORED, RowError
from snaketune.prompts.tokenise import RowLimits, split_row, text_row, tokenise, training_row
from snaketune.prompts.wording import options_protocol
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl, read_rows
from snaketune.statistics.paired import compare
from snaketune.tables.comparisons import _adjust
from snaketune.tasks.measure import measure
from snaketune.tasks.perplexity import OUTCOMES, parts_of
from snaketune.training.batches import read_token_rows

TEXT = Form("perplexity", chat=False)


def with_bos(tokenizer):
    first = ("<bos>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[first]
    )
    return tokenizer


@pytest.mark.parametrize("adds", [True, False])
def test_all_of_a_text_is_learned_behind_one_first_token(adds):
    tokenizer = make_tokenizer(CHATML)
    row = training_row(with_bos(tokenizer) if adds else tokenizer, Example("t", "A text."), TEXT)
    assert tokenizer.decode(row.input_ids) == "<bos>A text.<|im_end|>"
    assert row.labels == [IGNORED, *row.input_ids[1:]]


def test_without_a_first_token_the_end_token_opens_a_text():
    tokenizer = make_tokenizer(CHATML)
    tokenizer.bos_token = None
    assert tokenizer.decode(text_row(tokenizer, "A").input_ids) == "<|im_end|>A<|im_end|>"
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no token that a text could begin with"):
        text_row(tokenizer, "A")


def test_a_control_token_that_is_typed_in_a_text_stays_text():
    tokenizer = make_tokenizer(CHATML)
    row = text_row(tokenizer, "See <|im_end|> here.")
    assert row.input_ids.count(tokenizer.eos_token_id) == 1


def test_a_text_that_the_tokens_cannot_write_is_rejected():
    class Forgetful(type(make_tokenizer(CHATML))):
        def decode(self, *args, **kwargs):
            return super().decode(*args, **kwargs).replace("four", "for")

    tokenizer = make_tokenizer(CHATML)
    tokenizer.__class__ = Forgetful
    with pytest.raises(RowError, match="decode to"):
        text_row(tokenizer, "two and four")


@pytest.mark.parametrize("limit", [2, 5, 8, 9, 10, 11, 50])
def test_a_long_text_goes_on_in_rows_that_teach_each_token_once(limit):
    row = text_row(make_tokenizer(CHATML), "a text..")  # ten tokens
    pieces = split_row(row, limit)
    assert all(2 <= len(piece.input_ids) <= limit for piece in pieces)
    pairs = [
        (before, label)
        for piece in pieces
        for before, label in zip(piece.input_ids, piece.labels[1:], strict=False)
    ]
    assert pairs == list(zip(row.input_ids, row.input_ids[1:], strict=False))
    assert all(piece.labels[0] == IGNORED for piece in pieces)


@pytest.mark.parametrize("overlong", ["drop", "truncate", "split"])
def test_long_texts_are_counted_by_example(tmp_path, overlong):
    paths = {"train": tmp_path / "train.parquet", "dev": tmp_path / "dev.parquet"}
    write_examples(paths["train"], [Example("short", "Short."), Example("long", "Long. " * 20)])
    write_examples(paths["dev"], [])
    tokenizer, limits = make_tokenizer(None), RowLimits(50, overlong)
    tokenise(paths, [], tokenizer, TEXT, limits, tmp_path / "out")
    found = json.loads((tmp_path / "out/stats.json").read_text())["splits"]["train"]
    rows = [row.id for row in read_token_rows(tmp_path / "out/train.parquet")]
    assert found["in"] == 2
    expected = {
        "drop": (1, {"overlong": 1}, 0, ["short"]),
        "truncate": (2, {}, 1, ["short", "long"]),
        "split": (2, {}, 0, ["short", "long", "long+1", "long+2"]),
    }
    assert (found["out"], found["dropped"], found["truncated"], rows) == expected[overlong]
    assert found.get("further_rows", 0) == (2 if overlong == "split" else 0)


def test_further_rows_have_names_that_no_text_has(tmp_path):
    """A text that is called as another one's second row would be."""
    ids = ["long", "long+1", "long++1", "long+++x", "long+1+2"]
    paths = {"train": tmp_path / "train.parquet", "dev": tmp_path / "dev.parquet"}
    write_examples(paths["train"], [Example(name, "Long. " * 20) for name in ids])
    write_examples(paths["dev"], [])
    tokenise(paths, [], make_tokenizer(None), TEXT, RowLimits(50, "split"), tmp_path / "out")
    rows = [row.id for row in read_token_rows(tmp_path / "out/train.parquet")]
    assert len(set(rows)) == len(rows) == 15
    assert "long+++1" in rows and rows.count("long+1") == 1
    found = json.loads((tmp_path / "out/stats.json").read_text())["splits"]["train"]
    assert (found["in"], found["out"], found["further_rows"]) == (5, 5, 10)


@pytest.mark.parametrize("limit", [16, 17])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 30, 60])
def test_windows_score_each_token_once_behind_half_a_window(limit, length):
    tokenizer = make_tokenizer(CHATML)
    text = "".join(chr(ord("a") + i % 26) for i in range(length))
    head, own = text_tokens(tokenizer, text)
    whole, place = head + own, 1
    for tree in text_windows(tokenizer, text, limit):
        [scored] = tree.branches
        assert scored == whole[place : place + len(scored)]
        assert tree.stem == whole[place - len(tree.stem) : place]
        assert tree.size <= limit
        assert tree.stem == head if place == 1 else len(tree.stem) >= limit // 2
        place += len(scored)
    assert place == len(whole)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Texts, two of them longer than the model's context of 64 tokens, and their records."""
    folder = tmp_path_factory.mktemp("texts")
    spec = ModelSpec(id=str(save_chat_model(folder / "model", max_position_embeddings=64)))
    texts = [*questions(6, seed=1), " ".join(questions(9, 2)), " ".join(questions(5, 3)) + " é<x>"]
    write_examples(folder / "test.parquet", [Example(f"t{i}", t) for i, t in enumerate(texts)])
    protocol = OptionsProtocol(**options_protocol(EvalSpec(task="perplexity", dataset="d")))
    score_options(
        LoadableState(spec, "none", "none", []), protocol, folder / "test.parquet",
        folder / "work", folder / "scores.jsonl", folder / "meta.json",
    )  # fmt: skip
    return folder, spec, texts, list(read_jsonl(folder / "scores.jsonl"))


def by_hand(model, tokens, limit):
    """The log-likelihood of all tokens but the first: a forward pass a window."""
    total, first = 0.0, 1
    while first < len(tokens):
        start = 0 if first == 1 else first - limit // 2
        ids = torch.tensor([tokens[start : start + limit]])
        with torch.inference_mode():
            gains = model(ids).logits[0].double().log_softmax(-1)
        last = min(start + limit, len(tokens))
        total += sum(float(gains[i - 1 - start, tokens[i]]) for i in range(first, last))
        first = last
    return total


def test_log_likelihoods_are_those_of_plain_forward_passes(scored):
    _, spec, texts, records = scored
    model, tokenizer = AutoModelForCausalLM.from_pretrained(spec.id).eval(), load_tokenizer(spec)
    assert [record["windows"] > 1 for record in records] == [False] * 6 + [True, True]
    for text, record in zip(texts, records, strict=True):
        ids = tokenizer(text)["input_ids"]
        opened = [tokenizer.eos_token_id, *ids]
        assert record["tokens"] == [len(ids)]
        assert record["sums"][0] == pytest.approx(by_hand(model, opened, 64), abs=2e-3)


def test_figures_are_those_of_the_whole_text(scored):
    folder, _, texts, records = scored
    spec = EvalSpec(task="perplexity", dataset="d")
    measure(
        folder / "test.parquet", folder / "scores.jsonl", None, folder / "s.parquet",
        folder / "m.json", state="m", eval_name="e", protocol_name="e",
        protocol=spec.protocol(),
    )  # fmt: skip
    found = json.loads((folder / "m.json").read_text())
    rows = {row["metric"]: row for row in found["rows"]}
    total = sum(record["sums"][0] for record in records)
    tokens = sum(record["tokens"][0] for record in records)
    perplexity = exp(-total / tokens)
    assert rows["perplexity"]["value"] == pytest.approx(perplexity)
    assert rows["token_probability"]["value"] == pytest.approx(1 / perplexity)
    words = sum(len(text.split()) for text in texts)
    assert rows["word_perplexity"]["value"] == pytest.approx(exp(-total / words))
    size = sum(len(text.encode()) for text in texts)
    assert rows["bits_per_byte"]["value"] == pytest.approx(-total / log(2) / size)
    assert found["counts"] == {"tokens": tokens, "total": 8}
    assert read_rows(folder / "s.parquet")[0]["text"] == texts[0]


def documents(count, seed, shift=0.0):
    """Scores of documents of very different lengths."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, 400, count)
    hard = rng.normal(3, 0.5, count)
    change = shift + rng.normal(0, 0.05, count) if shift else np.zeros(count)
    return [
        {"id": str(i), "tokens": int(n), "words": int(n) // 2 + 1, "bytes": int(n) * 4,
         "log_likelihood": float(-n * (h - c))}
        for i, (n, h, c) in enumerate(zip(tokens, hard, change, strict=True))
    ]  # fmt: skip


def with_parts(scores):
    for name in OUTCOMES:
        for score, part in zip(scores, parts_of(name, scores), strict=True):
            score[name] = part
    return scores


def perplexity(scores, places):
    picked = [scores[i] for i in places]
    return exp(-sum(s["log_likelihood"] for s in picked) / sum(s["tokens"] for s in picked))


def test_paired_intervals_are_those_of_documents_drawn_anew():
    base, tuned = with_parts(documents(300, 5)), with_parts(documents(300, 5, shift=0.1))
    found = compare(base, tuned, OUTCOMES["perplexity"])
    everything = range(300)
    assert found["base"] == pytest.approx(perplexity(base, everything))
    assert found["difference"] == pytest.approx(
        perplexity(tuned, everything) - perplexity(base, everything)
    )
    rng = np.random.default_rng(0)
    drawn = [rng.integers(300, size=300) for _ in range(1000)]
    again = [perplexity(tuned, places) - perplexity(base, places) for places in drawn]
    low, high = np.quantile(again, [0.025, 0.975])
    width = found["high"] - found["low"]
    assert width == pytest.approx(high - low, rel=0.1)
    assert found["low"] == pytest.approx(low, abs=0.1 * width)


@pytest.mark.parametrize(("shift", "verdict"), [(0.1, "better"), (-0.1, "worse")])
def test_less_perplexity_is_better(shift, verdict):
    base, tuned = with_parts(documents(60, 5)), with_parts(documents(60, 5, shift))
    rows = [
        {"run": "r", "eval": "e", "subset": "all", "metric": name} | compare(base, tuned, of)
        for name, of in OUTCOMES.items()
    ]
    _adjust(rows)
    assert {row["metric"]: row["verdict"] for row in rows} == dict.fromkeys(OUTCOMES, verdict)
