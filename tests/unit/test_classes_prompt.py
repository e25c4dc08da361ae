"""A label is scored behind the very tokens that it was trained behind (trap 32)."""

from pathlib import Path

import pytest
import yaml
from tiny_chat import make_tokenizer
from transformers import AutoTokenizer

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example
from snaketune.inference.options import build_tree
from snaketune.inference.score_options import OptionsProtocol, build_question
from snaketune.prompts.conversation import build_messages, join_with_space, turn_closing_tokens
from snaketune.prompts.form import Form
from snaketune.prompts.rows import IGNORED, build_row
from snaketune.prompts.wording import options_protocol

ROOT = Path(__file__).parents[2]
RECIPE = yaml.safe_load((ROOT / "config/experiments/solution_verifier.yaml").read_text())
ASKED = RECIPE["evals"]["solutions"]
LABELS = ["0", "1"]
EXAMPLE = Example("3-1", "How many?", "3 + 4 = 8", "1", label="1")


def tokenizers():
    return [make_tokenizer(), AutoTokenizer.from_pretrained(ROOT / "data/demo/model")]


def scored(tokenizer, **changes):
    """(tokens of the prompt, of each label)"""
    spec = EvalSpec.model_validate({**ASKED, "classes": {"labels": LABELS}, **changes})
    protocol = OptionsProtocol(**options_protocol(spec))
    tree = build_tree(tokenizer, build_question(EXAMPLE, protocol, tokenizer), plain=False)
    parts = zip(tree.branches, tree.scored, strict=True)
    return [(tree.stem + branch[:start], branch[start:]) for branch, start in parts]


def of_row(row):
    first = next(i for i, label in enumerate(row.labels) if label != IGNORED)
    return row.input_ids[:first], row.input_ids[first:]


@pytest.mark.parametrize("prefix", ["", "Verdict:"])
@pytest.mark.parametrize("tokenizer", tokenizers(), ids=["tiny", "demo"])
def test_a_label_is_scored_where_it_was_trained(tokenizer, prefix):
    turns = build_messages(
        EXAMPLE, task="classification", system=ASKED["system"], shots=[], prompt=ASKED["prompt"]
    )
    reply = join_with_space(prefix, "1") if prefix else "1"
    row = build_row(
        tokenizer,
        [*turns, {"role": "assistant", "content": reply}],
        Form("classification", reply_prefix=prefix),
    )
    before, trained = of_row(row)
    found = scored(tokenizer, reply_prefix=prefix)
    for label, (context, tokens) in zip(LABELS, found, strict=True):
        assert context == before
        assert (trained[: len(tokens)] == tokens) == (label == "1")
    learned = [label for label in row.labels if label != IGNORED]
    assert learned == [*found[1][1], *turn_closing_tokens(tokenizer)], (
        "its end is the one that is scored"
    )


def test_white_space_before_the_end_of_a_turn_belongs_to_the_end():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>", "\n<|im_end|>")
    ending = turn_closing_tokens(tokenizer)
    assert tokenizer.decode(ending) == "\n<|im_end|>"
    turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}]
    learned = [label for label in build_row(tokenizer, turns).labels if label != IGNORED]
    assert learned[1:] == ending
