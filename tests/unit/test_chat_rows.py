"""Masks of conversations, turn by turn, against a plain reference: every reply is looked up in the
text that the row decodes to, behind the user's turn that it answers."""

import json

import pytest
from model_templates import REAL
from test_prompt_templates import EVERY, known
from test_rows import CHATML, make_tokenizer, trained_spans

from snaketune.data.example import Example
from snaketune.prompts.form import Form, opening_tokens, prompt_opening
from snaketune.prompts.rows import IGNORED, RowError
from snaketune.prompts.tokenise import training_row
from snaketune.runtime.errors import UserError

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Another token ends the last reply than those before it.
ENDS_DIFFER = ["as gpt-oss has it"]
# The question that every reply answers stands once in the whole text.
ASKED = ["First: what is 2 + 2?", "Then 3 + 3?", "And last 4 + 4?"]
REPLIES = ["It is four.", "Six,\n\nI think.", "Eight, of course."]
SYSTEM = "You count for us."


def conversation(system=SYSTEM, weights=(None, None, None), replies=REPLIES):
    """An example of three questions."""
    turns = [{"role": "system", "content": system}] if system else []
    for asked, reply, weight in zip(ASKED, replies, weights, strict=True):
        marked = {} if weight is None else {"weight": weight}
        turns.append({"role": "user", "content": asked})
        turns.append({"role": "assistant", "content": reply} | marked)
    *history, question, answer = turns
    meta = {"history": history} | {k: v for k, v in answer.items() if k == "weight"}
    return Example("c", question["content"], answer=answer["content"], meta=json.dumps(meta))


def reference(tokenizer, ids, learned):
    """Labels by hand. The tokenizer has a token a character, so places in the text are places of
    tokens: those of a reply, with the blanks before it, and on to the first special token."""
    pieces = [tokenizer.decode([token]) for token in ids]
    special = [token in tokenizer.added_tokens_decoder for token in ids]
    text = "".join("\0" if mark else piece for piece, mark in zip(pieces, special, strict=True))
    labels, place = [IGNORED] * len(ids), 0
    for number, (asked, reply) in enumerate(zip(ASKED, REPLIES, strict=True)):
        place = text.index(reply, text.index(asked, place))
        start, end = len(text[:place].rstrip(" ")), text.index("\0", place)
        assert text[place:end].strip() == reply
        if number in learned:
            labels[start : end + 1] = ids[start : end + 1]
    return labels


@pytest.mark.parametrize("train_on", ["all", "last", "marked"])
@pytest.mark.parametrize("kind", [*EVERY, "SmolLM2"])
def test_every_turn_is_masked_as_by_hand(kind, train_on):
    tokenizer = make_tokenizer(SMOLLM2) if kind == "SmolLM2" else known(kind)[0]
    form = Form("open_qa", train_on=train_on)
    example = conversation(weights=(1, 0, 1))
    if kind in ENDS_DIFFER and train_on != "last":
        with pytest.raises(RowError, match="different tokens; with train_on: last"):
            training_row(tokenizer, example, form)
        return
    row = training_row(tokenizer, example, form)
    learned = {"all": {0, 1, 2}, "last": {2}, "marked": {0, 2}}[train_on]
    assert row.labels == reference(tokenizer, row.input_ids, learned)
    assert row.only_context == 0
    [asked] = opening_tokens(tokenizer, [prompt_opening(tokenizer, example, form, "m")])
    assert row.input_ids[: len(asked)] == asked
    assert row.labels[len(asked)] != IGNORED


def test_the_template_s_own_system_turn_stands_where_a_row_has_none():
    tokenizer = make_tokenizer(SMOLLM2)
    rows = [training_row(tokenizer, conversation(s), Form("open_qa")) for s in (SYSTEM, "")]
    own, given = (tokenizer.decode(row.input_ids) for row in rows)
    assert SYSTEM in own and "named SmolLM" not in own
    assert "named SmolLM" in given
    assert [len(trained_spans(tokenizer, row)) for row in rows] == [3, 3]


def test_a_system_turn_of_the_config_stands_where_a_row_has_none():
    tokenizer, form = make_tokenizer(CHATML), Form("open_qa", system="From the config.")
    said = [tokenizer.decode(training_row(tokenizer, conversation(s), form).input_ids)
            for s in (SYSTEM, "")]  # fmt: skip
    assert SYSTEM in said[0] and "From the config." not in said[0]
    assert "From the config." in said[1]


def test_only_marked_replies_are_learned_and_none_is_an_error():
    tokenizer, form = make_tokenizer(CHATML), Form("open_qa", train_on="marked")
    row = training_row(tokenizer, conversation(weights=(0, 1, None)), form)
    assert trained_spans(tokenizer, row) == [REPLIES[1] + "<|im_end|>"]
    with pytest.raises(RowError, match="no reply is marked"):
        training_row(tokenizer, conversation(weights=(0, None, 0)), form)


def test_a_reply_that_is_printed_without_its_thoughts_is_context_and_counted():
    tokenizer = known("as Qwen3 has it")[0]
    replies = [f"<think>\nhm\n</think>\n\n{reply}" for reply in REPLIES]
    row = training_row(tokenizer, conversation(replies=replies), Form("open_qa", thinking="on"))
    assert len(trained_spans(tokenizer, row)) == 1
    assert row.only_context == 2


DROPPED = {
    "system": "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}",
    "first question": "{% set messages = [messages[0]] + messages[2:] %}",
}


@pytest.mark.parametrize("what", DROPPED)
def test_a_turn_that_the_template_leaves_out_rejects_the_row(what):
    tokenizer, form = make_tokenizer(DROPPED[what] + CHATML), Form("open_qa")
    said = SYSTEM if what == "system" else ASKED[0][:10]
    with pytest.raises(RowError, match=r"leaves out a turn|other text"):
        training_row(tokenizer, conversation(), form)
    with pytest.raises(UserError, match=rf"leaves out a turn.*{said}"):
        prompt_opening(tokenizer, conversation(), form, "m")


def test_a_template_without_a_system_turn_rejects_the_row_by_its_own_word():
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    with pytest.raises(RowError, match="refuses the conversation: no system"):
        training_row(make_tokenizer(refusing + CHATML), conversation(), Form("open_qa"))


def test_plain_text_has_no_place_for_a_history():
    with pytest.raises(UserError, match="turns before the question"):
        training_row(make_tokenizer(CHATML), conversation(), Form("open_qa", chat=False))


def test_all_real_templates_are_tried():
    assert {f"as {name} has it" for name in REAL} <= set(EVERY)
