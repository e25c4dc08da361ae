"""Prompts: rendered and tokenised once, dates pinned, end tokens found (traps 5 to 7)."""

import pytest
from tiny_chat import TEMPLATE, make_tokenizer
from tokenizers.processors import TemplateProcessing

from snaketune.data.example import Example
from snaketune.prompts.conversation import (
    build_messages,
    end_tokens,
    render_chat,
    template_hash,
    turn_end_token,
)
from snaketune.prompts.form import Form, chat_opening, opening_tokens
from snaketune.prompts.wording import MATH_SYSTEM
from snaketune.runtime.errors import UserError

TURNS = [{"role": "user", "content": "one"}]


def test_the_opening_token_stands_once():
    """A template that prints it and a tokenizer that adds it: still one."""
    tokenizer = make_tokenizer(bos_token="<think>")
    start = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<think> $A", special_tokens=[("<think>", start)]
    )
    tokenizer.chat_template = "{{ bos_token }}" + TEMPLATE
    assert tokenizer("<think>one")["input_ids"].count(start) == 2, "the trap isn't there"
    (ids,) = opening_tokens(tokenizer, [chat_opening(tokenizer, TURNS, Form("open_qa"), "tiny")])
    assert ids[0] == start and ids.count(start) == 1


def test_prompts_do_not_change_with_the_day():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ date_string }}|{{ strftime_now('%d %b %Y') }}|" + TEMPLATE
    text = render_chat(tokenizer, TURNS, reply_next=True)
    assert text.startswith("26 Jul 2024|26 Jul 2024|<|im_start|>user")


def test_the_hash_follows_the_template():
    one, other = make_tokenizer(), make_tokenizer()
    assert template_hash(one) == template_hash(other)
    other.chat_template += " "
    assert template_hash(one) != template_hash(other)


def test_a_template_that_refuses_the_turns():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(UserError, match=r"model tiny: .*System role not supported"):
        chat_opening(tokenizer, TURNS, Form("open_qa"), "tiny")


def test_the_templates_end_of_turn_is_an_end_token():
    tokenizer = make_tokenizer()
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.convert_ids_to_tokens(turn_end_token(tokenizer)) == "<|im_end|>"
    assert end_tokens(tokenizer, [], "tiny") == [0, 2]
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    assert turn_end_token(tokenizer) is None
    assert end_tokens(tokenizer, [], "tiny") == [0]


def test_conversations_hold_system_shots_and_context():
    example = Example("a", "how many?", context="two apples")
    shots = [{"question": "q", "answer": "a"}]
    turns = build_messages(example, task="math", system=None, shots=shots)
    assert [t["role"] for t in turns] == ["system", "user", "assistant", "user"]
    assert turns[0]["content"] == MATH_SYSTEM
    assert turns[-1]["content"] == "how many?\n\ntwo apples"
    assert [t["role"] for t in build_messages(example, task="math", system="", shots=[])] == [
        "user"
    ]
    assert [t["role"] for t in build_messages(example, task="safety", system=None, shots=[])] == [
        "user"
    ]
