"""Chat templates, rendered once and the same way for training and for inference."""

import hashlib
import re
from datetime import datetime
from typing import Any

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
