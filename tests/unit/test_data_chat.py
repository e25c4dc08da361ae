"""Conversations in the forms that people have, and plain text: what is read, told and rejected."""

import json

import pytest
from prepared_data import prepared, write_lines
from pydantic import ValidationError

from snaketune.config.dataset import DatasetSpec
from snaketune.data.example import Example
from snaketune.data.overlap import items_of

SAID = [("system", "Be brief."), ("user", "2 + 2?"), ("assistant", "4"), ("user", "Sure?")]
NAMES = {"system": "system", "user": "human", "assistant": "gpt"}
PAIRS = "preference pairs, of which `chosen` is trained on and `rejected` is not used"


def openai(turns, **more):
    return {"messages": [{"role": role, "content": text} | more for role, text in turns]}


def sharegpt(turns):
    return {"conversations": [{"from": NAMES[role], "value": text} for role, text in turns]}


def one(tmp_path, record, **settings):
    """The only example of a file with this record."""
    found = prepared(write_lines(tmp_path / "train.jsonl", [record]), "chat", **settings)
    assert not found.rejected, found.rejected
    [example] = found.splits["train"]
    return example, found.manifest["recognised"]["train"]


def turns_of(example: Example):
    """The conversation, put together again."""
    before = [(turn["role"], turn["content"]) for turn in example.history]
    return [*before, ("user", example.prompt), ("assistant", example.answer)]


@pytest.mark.parametrize(
    ("record", "said", "told"),
    [
        (openai([*SAID, ("assistant", "Yes")]), [*SAID, ("assistant", "Yes")], "messages (OpenAI)"),
        (
            sharegpt([*SAID, ("assistant", "Yes")]),
            [*SAID, ("assistant", "Yes")],
            "conversations (ShareGPT)",
        ),
        (
            {"system": "Be brief."} | sharegpt([*SAID[1:], ("assistant", "Yes")]),
            [*SAID, ("assistant", "Yes")],
            "conversations (ShareGPT)",
        ),
        (
            {"prompt": "2 + 2?", "completion": "4"},
            [("user", "2 + 2?"), ("assistant", "4")],
            "prompt and completion",
        ),
        (
            {
                "prompt": openai(SAID)["messages"],
                "completion": openai([("assistant", "Yes")])["messages"],
            },
            [*SAID, ("assistant", "Yes")],
            "prompt and completion",
        ),
        (
            {"instruction": "Add.", "input": "2, 2", "output": "4", "system": "Be brief."},
            [("system", "Be brief."), ("user", "Add.\n\n2, 2"), ("assistant", "4")],
            "instruction, input and output (Alpaca)",
        ),
        # LLaMA-Factory's.
        (
            {"instruction": "Sure?", "input": "", "output": "Yes", "history": [["2 + 2?", "4"]]},
            [*SAID[1:], ("assistant", "Yes")],
            "instruction, input and output (Alpaca)",
        ),
        (
            {"instruction": "Add 2 and 2.", "input": "", "output": "4"},
            [("user", "Add 2 and 2."), ("assistant", "4")],
            "instruction, input and output (Alpaca)",
        ),
        (
            {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
            [("user", "2 + 2?"), ("assistant", "4")],
            PAIRS,
        ),
        # UltraFeedback: the prompt as text, and again among the turns.
        (
            {
                "prompt": "2 + 2?",
                "chosen": openai([("user", "2 + 2?"), ("assistant", "4")])["messages"],
                "rejected": openai([("user", "2 + 2?"), ("assistant", "5")])["messages"],
            },
            [("user", "2 + 2?"), ("assistant", "4")],
            PAIRS,
        ),
        # UltraChat has a prompt beside its messages, which hold it.
        (
            {"prompt": "2 + 2?"} | openai([*SAID, ("assistant", "Yes")]),
            [*SAID, ("assistant", "Yes")],
            "messages (OpenAI)",
        ),
    ],
)
def test_a_conversation_is_known_by_its_keys_and_told(tmp_path, record, said, told):
    example, recognised = one(tmp_path, record)
    assert turns_of(example) == said
    assert (example.gold, recognised) == (said[-1][1], {told: 1})


def test_contents_in_parts_are_joined_and_empty_system_turns_say_nothing(tmp_path):
    parts = [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2?"}]
    turns = [("system", " "), ("user", parts), ("assistant", "4")]
    assert turns_of(one(tmp_path, openai(turns))[0]) == [("user", "2 + 2?"), ("assistant", "4")]


def test_weights_stay_with_their_turns_and_are_told(tmp_path):
    record = openai([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")])
    record["messages"][1]["weight"], record["messages"][3]["weight"] = 1, 0
    example, recognised = one(tmp_path, record)
    assert [turn.get("weight") for turn in example.history] == [None, 1]
    assert (example.weight, recognised) == (0, {"messages (OpenAI), with weights": 1})


REJECTED = {
    "no_conversation": {"question": "2 + 2?", "answer": "4"},
    "no_reply": openai([("user", "a"), ("assistant", "b"), ("user", "c")]),
    "unknown_role": openai([("user", "a"), ("tool", "b"), ("assistant", "c")]),
    "empty": openai([("user", "a"), ("assistant", " ")]),
    "wrong_type": {"messages": "a"},
    "more_than_text": openai([("user", "a"), ("assistant", "b")], tool_calls=[{"id": "1"}]),
    "wrong_weight": openai([("user", "a"), ("assistant", "b")], weight=1),
    "missing": {"prompt": "a", "completion": None},
}


@pytest.mark.parametrize("reason", REJECTED)
def test_what_is_no_conversation_of_text_is_rejected_and_counted(tmp_path, reason):
    rows = [openai([("user", "a"), ("assistant", "b")]), REJECTED[reason]]
    found = prepared(write_lines(tmp_path / "train.jsonl", rows), "chat", rejected_at_most=0.5)
    assert found.manifest["splits"]["train"] == {"in": 2, "out": 1, "rejected": {reason: 1}}
    assert found.rejected[0].record == 2


def test_pictures_are_no_text(tmp_path):
    parts = [{"type": "image_url", "image_url": "https://…"}]
    rows = [openai([("user", "a"), ("assistant", "b")]), openai([("user", parts), SAID[2]])]
    found = prepared(write_lines(tmp_path / "train.jsonl", rows), "chat", rejected_at_most=0.5)
    assert str(found.rejected[0].fault).startswith("field messages[0].content: found a list of 1")


def test_the_same_question_behind_another_history_is_another_example():
    row = Example("1", "Sure?", answer="Yes")
    other = Example("2", "Sure?", answer="Yes", meta=json.dumps({"history": [
        {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"},
    ]}))  # fmt: skip
    one, two = items_of([row, other])
    assert one.text == "Sure?"
    assert two.text == "user: 2 + 2?\n\nassistant: 4\n\nuser: Sure?"


def test_conversations_with_a_history_are_no_few_shot_examples(tmp_path):
    rows = [sharegpt([*SAID, ("assistant", str(i))]) for i in range(4)]
    assert not prepared(write_lines(tmp_path / "train.jsonl", rows), "chat").shots


def test_a_text_file_has_a_record_a_paragraph(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("\n\nOne line,\nand one more.\r\n \t\nThe second.\n\n\n")
    found = prepared(file, "text")
    texts = [(example.question, example.record) for example in found.splits["train"]]
    assert texts == [("One line,\nand one more.", 3), ("The second.", 6)]
    assert found.manifest["recognised"]["train"] == {"plain text": 2}
    assert not found.shots


def test_jsonl_text_keeps_its_title(tmp_path):
    rows = [{"text": "A.", "title": "First"}, {"text": ""}, {"body": "B"}]
    found = prepared(write_lines(tmp_path / "train.jsonl", rows), "text", rejected_at_most=1)
    assert found.manifest["splits"]["train"]["rejected"] == {"empty": 1, "missing": 1}
    [example] = found.splits["train"]
    assert (example.question, json.loads(example.meta)) == ("A.", {"title": "First"})


def test_a_text_file_beside_other_data_is_no_data(tmp_path):
    write_lines(tmp_path / "train.jsonl", [openai([("user", "a"), ("assistant", "b")])])
    (tmp_path / "train.txt").write_text("About these files.\n")
    found = prepared(tmp_path, "chat")
    assert len(found.splits["train"]) == 1
    assert found.manifest["unused"] == []


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"format": "chat", "prompt": "Say: {question}"}, "prompt: a dataset of format chat"),
        ({"format": "gsm8k", "train_on": "last"}, "train_on belongs to format chat"),
        ({"format": "text", "chat": True}, "chat: a dataset of format text"),
        ({"format": "text", "system": "Be brief."}, "system: a dataset of format text"),
    ],
)
def test_what_does_not_go_with_a_format_is_refused(settings, fault):
    with pytest.raises(ValidationError, match=fault):
        DatasetSpec.model_validate({"source": "a.jsonl", **settings})
