"""Chat templates, rendered once and the same way for training and for inference."""

import hashlib
from typing import Any

Messages = list[dict[str, str]]

# Some templates print today's date; a fixed one keeps prompts equal from day to day.
DATE = "26 Jul 2024"


def render(tokenizer: Any, messages: Messages, *, reply_next: bool, **options: Any) -> str:
    """The conversation as text; with `reply_next` it ends with the header of the next reply.

    Tokenise the result once, with `add_special_tokens=False`: the template prints the
    beginning-of-text token itself where the model has one.
    """
    return tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=reply_next,
        date_string=DATE,
        **options,
    )


def template_hash(tokenizer: Any) -> str:
    """12 hex digits that identify the chat template; they lie beside every result."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()[:12]
