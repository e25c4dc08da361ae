"""Training rows without a chat template."""

import pytest
from test_rows import make_tokenizer

from snaketune.data.example import Example, write_examples
from snaketune.inference.options import Question, build_tree
from snaketune.prompts.form import Form
from snaketune.prompts.rows import IGNORED, RowError, build_plain_row
from snaketune.prompts.tokenise import RowLimits, tokenise
from snaketune.training.batches import read_token_rows

PROMPT = "You are an expert.\n\nQuestion: {question}\nAnswer:"


@pytest.fixture
def tokenizer():
    made = make_tokenizer(None)
    made.eos_token = "<|im_end|>"
    return made


def trained(row):
    return [label for label in row.labels if label != IGNORED]


def test_the_reply_and_the_end_are_learned_and_nothing_else(tokenizer):
    row = build_plain_row(tokenizer, "Question: who?\nAnswer:", "Max Verstappen")
    assert tokenizer.decode(row.input_ids) == "Question: who?\nAnswer: Max Verstappen<|im_end|>"
    assert tokenizer.decode(trained(row)) == " Max Verstappen<|im_end|>"


def test_white_space_that_the_prompt_ends_with_stays(tokenizer):
    row = build_plain_row(tokenizer, "Answer:\n", "Max ")
    assert tokenizer.decode(row.input_ids) == "Answer:\nMax<|im_end|>"


def test_an_empty_reply_makes_no_row(tokenizer):
    with pytest.raises(RowError, match="an empty reply"):
        build_plain_row(tokenizer, "Answer:", "  ")


def test_training_and_scoring_split_prompt_and_answer_at_the_same_token(tokenizer):
    row = build_plain_row(tokenizer, "Question: who?\nAnswer:", "Max")
    options = [" Max", " Lando"]
    tree = build_tree(tokenizer, Question("q", "Question: who?\nAnswer:", options), plain=True)
    scored = (tree.stem + tree.branches[0])[len(tree.stem) + tree.scored[0] :]
    assert trained(row) == [*scored, tokenizer.eos_token_id]


def test_a_model_without_a_template_can_train_in_plain_text(tokenizer, tmp_path):
    example = Example("e", "Who won?", answer="Max", choices=["Max", "Lando"], label="A")
    for name in ("train", "dev"):
        write_examples(tmp_path / f"{name}.parquet", [example] if name == "train" else [])
    paths = {name: tmp_path / f"{name}.parquet" for name in ("train", "dev")}
    limits = RowLimits(400, "drop")
    form = Form("multiple_choice", prompt=PROMPT, chat=False)
    tokenise(paths, [], tokenizer, form, limits, tmp_path / "out")
    (row,) = read_token_rows(tmp_path / "out" / "train.parquet")
    text = "You are an expert.\n\nQuestion: Who won?\nAnswer: Max<|im_end|>"
    assert tokenizer.decode(row.input_ids) == text
