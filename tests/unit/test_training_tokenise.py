"""Examples to rows on disk: what is left out is counted, and bad input is named."""

import json

import pytest
from test_rows import CHATML, GEMMA, make_tokenizer

from snaketune.data.example import Example, write_examples
from snaketune.prompts.form import Form
from snaketune.prompts.tokenise import RowLimits, histogram, quantiles, tokenise
from snaketune.runtime.errors import UserError
from snaketune.training.batches import read_token_rows


def example(number, answer="It is 4.\n#### 4", question=None):
    return Example(
        id=f"item-{number}",
        question=question or f"What is {number}?",
        answer=answer,
        source="train.jsonl",
        record=number + 1,
    )


@pytest.fixture
def run(tmp_path):
    def call(train, dev=(), shown=(), template=CHATML, max_length=400, overlong="drop"):
        paths = {"train": tmp_path / "in" / "train.parquet", "dev": tmp_path / "in" / "dev.parquet"}
        write_examples(paths["train"], list(train))
        write_examples(paths["dev"], list(dev))
        tokenizer, limits = make_tokenizer(template), RowLimits(max_length, overlong)
        tokenise(paths, list(shown), tokenizer, Form("math"), limits, tmp_path / "out")
        stats = json.loads((tmp_path / "out" / "stats.json").read_text())
        dropped = (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()
        return stats, [json.loads(line) for line in dropped], tmp_path / "out"

    return call


def test_rows_are_written_in_order_with_their_ids(run):
    stats, dropped, folder = run([example(n) for n in range(5)], dev=[example(9)])
    assert [row.id for row in read_token_rows(folder / "train.parquet")] == [
        f"item-{n}" for n in range(5)
    ]
    assert [row.id for row in read_token_rows(folder / "dev.parquet")] == ["item-9"]
    assert dropped == []
    shown = stats["example"]
    assert shown["trained"] == "It is 4.\n#### 4<|im_end|>"
    assert shown["trained_tokens"] * 5 == stats["splits"]["train"]["trained_tokens"]


def test_a_split_without_examples_is_an_empty_file(run):
    _, _, folder = run([example(1)])
    assert read_token_rows(folder / "dev.parquet") == []


def test_few_shot_examples_make_no_row_however_they_are_spelt(run):
    stats, dropped, _ = run([example(n) for n in range(4)], shown=["what  is 2?"])
    assert stats["splits"]["train"]["dropped"] == {"few-shot example": 1}
    assert [(d["id"], d["split"]) for d in dropped] == [("item-2", "train")]


def test_long_rows_are_dropped_or_cut_and_counted_either_way(run):
    long = example(3, answer="and so on " * 40)
    stats, dropped, _ = run([example(1), long])
    assert stats["splits"]["train"]["dropped"] == {"overlong": 1}
    assert dropped[0]["record"] == 4
    stats, dropped, folder = run([example(1), long], overlong="truncate")
    assert dropped == []
    assert stats["splits"]["train"]["truncated"] == 1
    assert max(len(row.input_ids) for row in read_token_rows(folder / "train.parquet")) == 400


@pytest.mark.parametrize("overlong", ["drop", "truncate"])
def test_the_histogram_shows_what_the_limit_keeps_out(run, overlong):
    _, _, folder = run([example(1), example(3, answer="and so on " * 40)], overlong=overlong)
    bins = json.loads((folder / "lengths.json").read_text())["train"]
    assert bins["limit"] == 400
    beyond = [n for n, edge in zip(bins["counts"], bins["edges"], strict=False) if edge > 400]
    assert (sum(bins["counts"]), sum(beyond)) == (2, 1)


def test_everything_in_is_out_or_listed(run):
    train = [example(1), example(2, answer=None), example(3, answer="x" * 500), example(4)]
    stats, dropped, folder = run(train)
    counts = stats["splits"]["train"]
    assert counts["in"] == 4 == len(read_token_rows(folder / "train.parquet")) + len(dropped)
    assert counts["dropped"] == {"no answer to train on": 1, "overlong": 1}


def test_a_template_that_cannot_carry_the_conversation_is_named_with_the_first_record(run):
    refusing = GEMMA.replace("(m.role == 'user') != (loop.index0 % 2 == 0)", "true")
    with pytest.raises(UserError, match=r"roles must alternate") as caught:
        run([example(6)], template=refusing)
    assert "train.jsonl, record 7" in str(caught.value)


def test_no_training_example_is_an_error(run):
    with pytest.raises(UserError, match="no training example"):
        run([])


def test_a_tokenizer_without_template_is_an_error(run):
    with pytest.raises(UserError, match="chat template"):
        run([example(1)], template=None)


def test_histogram_counts_every_row_once():
    lengths = [3, 3, 4, 90, 250, 251]
    bins = histogram(lengths, limit=512)
    assert sum(bins["counts"]) == len(lengths)
    assert len(bins["edges"]) == len(bins["counts"]) + 1
    assert bins["edges"][0] == 3 and bins["edges"][-1] > 251


def test_quantiles_of_nothing_are_nothing():
    assert quantiles([]) == {"lengths": {}}
    assert quantiles([5, 7])["lengths"]["mean"] == 6
