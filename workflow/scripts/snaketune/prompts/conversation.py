"""Chat templates, rendered once and the same way for training and for inference.

How an example becomes a conversation: one function for training and for inference.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from snaketune.config.evaluation import OptionsSpec, TaskName
from snaketune.data.example import Example
from snaketune.prompts.wording import MATH_SYSTEM, MULTIPLE_CHOICE, fill, listed

Messages = list[dict[str, str]]

# Some templates print today's date; a fixed one keeps prompts equal from day to day.
DATE = datetime(2024, 7, 26)


def render(tokenizer: Any, messages: Messages, *, reply_next: bool, **options: Any) -> str:
    """The conversation as text; with `reply_next` it ends with the header of the next reply.

    Tokenise the result once, with `add_special_tokens=False`: the template prints the
    beginning-of-text token itself where the model has one.
    """
    return tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=reply_next,
        chat_template=_dated(tokenizer.get_chat_template()),
        date_string=DATE.strftime("%d %b %Y"),
        **options,
    )


def _dated(template: str) -> str:
    """The template with the fixed date where it asks for today's; as data only plain values can be
    handed to it."""
    return re.sub(
        r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""", lambda m: repr(DATE.strftime(m[2])), template
    )


def template_hash(tokenizer: Any) -> str:
    """12 hex digits that identify the chat template; they lie beside every result."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()[:12]


def messages(
    example: Example,
    *,
    task: TaskName,
    system: str | None,
    shots: Sequence[dict[str, str]],
    prompt: str | None = None,
) -> Messages:
    """System turn (None: the task's own; empty: none), worked examples (`question` and `answer`)
    as user and assistant turns, and the example under `prompt` (None: the task's own) as the last
    user turn."""
    text = (MATH_SYSTEM if task == "math" else "") if system is None else system
    turns = [{"role": "system", "content": text}] if text else []
    for shot in shots:
        turns.append({"role": "user", "content": shot["question"]})
        turns.append({"role": "assistant", "content": shot["answer"]})
    text = worded(prompt, task, example)
    return [*turns, {"role": "user", "content": text}]


def worded(prompt: str | None, task: str, example: Example, line: str | None = None) -> str:
    """The prompt for an example: the template filled, or the task's own (the question alone where
    the task has none). The context stands below the question unless the template places it;
    `line` words an option (None: as usual)."""
    template = prompt or (MULTIPLE_CHOICE if task == "multiple_choice" else "{question}")
    placed = "{context}" in template
    return fill(
        template,
        question=example.question if placed else example.prompt,
        context=example.context or "",
        options=listed(example.choices or (), line or OptionsSpec().line),
    )


def opened(text: str, more: str) -> str:
    """`text`, then `more` behind white space; nothing is added where `more` is empty."""
    gap = " " if text and more and not text[-1].isspace() else ""
    return f"{text}{gap}{more}"
