"""Conversations as token ids, each rendered and tokenised once."""

from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from snaketune.chat import Messages, render
from snaketune.errors import UserError


def prompt_tokens(
    tokenizer: Any,
    conversations: Sequence[Messages],
    name: str,
    prefix: str = "",
    **options: Any,
) -> list[list[int]]:
    """The token ids of each conversation up to the header of the reply and the `prefix` that opens
    it; `options` go to the template. The template itself prints the beginning-of-text token, so
    none is added."""
    try:
        texts = [
            render(tokenizer, turns, reply_next=True, **options) + prefix for turns in conversations
        ]
    except TemplateError as error:
        raise UserError(
            f"model {name}: its chat template refuses the conversation: {error}. A template "
            "without a system turn needs `system: ''` in the eval."
        ) from None
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
