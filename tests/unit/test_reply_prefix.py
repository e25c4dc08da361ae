"""A prefix that opens replies: the prompt of training and of inference, token by token."""

import pytest
from test_rows import ANSWER, ASKED, IGNORED, TEMPLATES, make_tokenizer, trained_spans

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example
from snaketune.inference.options import build_tree
from snaketune.inference.score_options import OptionsProtocol, build_question
from snaketune.prompts.conversation import build_messages, join_with_space
from snaketune.prompts.form import Form, opening, opening_tokens
from snaketune.prompts.rows import build_plain_row, build_row
from snaketune.prompts.wording import generation_protocol, options_protocol

PREFIX = "Answer: Let's think step by step."
PROBLEM = Example("1-1", "2 + 2?", context="It is 5.", answer="1", label="1")
VERIFY = "### Problem:\n{question}\n\n### Solution:\n{context}"


def row_with_prefix(tokenizer, prefix=PREFIX):
    reply = {"role": "assistant", "content": join_with_space(prefix, ANSWER)}
    return build_row(tokenizer, [*ASKED, reply], Form("math", reply_prefix=prefix))


def asked_tokens(tokenizer, form):
    return opening_tokens(tokenizer, [opening(tokenizer, ASKED, form)])[0]


@pytest.mark.parametrize("style", ["chatml", "llama", "gemma"])
def test_the_prefix_carries_no_loss_and_ends_the_prompt_of_inference(style):
    template, end = TEMPLATES[style]
    tokenizer = make_tokenizer(template)
    row = row_with_prefix(tokenizer)
    asked = asked_tokens(tokenizer, Form("math", reply_prefix=PREFIX))
    assert row.input_ids[: len(asked)] == asked
    assert row.labels[: len(asked)] == [IGNORED] * len(asked)
    assert trained_spans(tokenizer, row) == [f" {ANSWER}{end}"]


def test_a_prefix_that_would_join_the_reply_in_one_token_is_asked_as_it_was_trained():
    merged = make_tokenizer(TEMPLATES["chatml"][0], merges=[(".", "Ġ")])
    asked, row = asked_tokens(merged, Form("math", reply_prefix=PREFIX)), row_with_prefix(merged)
    assert row.input_ids[: len(asked)] == asked
    assert trained_spans(merged, row) == [f" {ANSWER}<|im_end|>"]


def test_a_prefix_stands_behind_the_empty_thought_that_the_template_prints():
    tokenizer = make_tokenizer(TEMPLATES["thinking"][0])
    asked = asked_tokens(tokenizer, Form("math", reply_prefix=PREFIX))
    row = row_with_prefix(tokenizer)
    assert tokenizer.decode(asked).endswith(f"<think>\n\n</think>\n\n{PREFIX}")
    assert row.input_ids[: len(asked)] == asked
    assert trained_spans(tokenizer, row) == [f" {ANSWER}<|im_end|>"]


@pytest.mark.parametrize("prefix", ["", "Verdict:"])
@pytest.mark.parametrize("style", ["chatml", "llama", "gemma"])
def test_a_scored_label_is_the_token_that_training_taught(style, prefix):
    """Recipe 4's fault: a newline after the assistant's tag in evaluation, none in training."""
    tokenizer = make_tokenizer(TEMPLATES[style][0])
    words = {"task": "classification", "system": "Judge.", "prompt": VERIFY}
    turns = build_messages(PROBLEM, shots=[], **words)
    reply = {"role": "assistant", "content": join_with_space(prefix, PROBLEM.answer)}
    row = build_row(tokenizer, [*turns, reply], Form("classification", reply_prefix=prefix))
    spec = EvalSpec(**words, dataset="d", reply_prefix=prefix, classes={"labels": ["0", "1"]})
    asked = build_question(PROBLEM, OptionsProtocol(**options_protocol(spec)), tokenizer)
    tree = build_tree(tokenizer, asked, plain=False)
    scored = [tree.stem + branch for branch in tree.branches]
    assert scored[1] == row.input_ids[: len(scored[1])]
    first = row.labels.index(next(label for label in row.labels if label != IGNORED))
    assert first == len(tree.stem) + tree.scored[1]
    assert asked.options == ([" 0", " 1"] if prefix else ["0", "1"])


def test_a_placed_context_stands_once():
    [turn] = build_messages(PROBLEM, task="classification", system="", shots=[], prompt=VERIFY)
    assert turn["content"] == "### Problem:\n2 + 2?\n\n### Solution:\nIt is 5."
    [usual] = build_messages(PROBLEM, task="classification", system="", shots=[])
    assert usual["content"] == "2 + 2?\n\nIt is 5."


def test_a_plain_row_has_its_prefix_in_the_prompt():
    tokenizer = make_tokenizer(None)
    row = build_plain_row(tokenizer, join_with_space("Q: 2 + 2?\n", "A:"), "4")
    text = tokenizer.decode([t for t, m in zip(row.input_ids, row.labels, strict=True) if m < 0])
    assert text == "Q: 2 + 2?\nA:"


def test_only_what_generation_uses_is_handed_to_it():
    """Another reward model or another n must not make replies stale."""
    sampling = {"samples": 8, "temperature": 0.7, "top_p": 0.95, "seed": 1}
    one = EvalSpec(task="math", dataset="d", sampling={**sampling, "reward": "a", "at": [1, 8]})
    two = EvalSpec(
        task="math",
        dataset="e",
        answer_rule="final_answer",
        sampling={**sampling, "reward": "b", "at": [2], "unique_at_least": 5},
    )
    assert generation_protocol(one) == generation_protocol(two)
    assert {key: generation_protocol(one)[key] for key in sampling} == sampling
    assert "samples" not in generation_protocol(EvalSpec(task="math", dataset="d"))
