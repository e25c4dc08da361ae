"""Conversations as token ids, each rendered and tokenised once."""

from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from snaketune.chat import Messages, render
from snaketune.control_tokens import encode, shield_turns
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
    texts = [prompt_text(tokenizer, turns, name, **options) + prefix for turns in conversations]
    return encode(tokenizer, texts)


def prompt_text(tokenizer: Any, turns: Messages, name: str, **options: Any) -> str:
    """The conversation up to the header of the reply, for `encode`. Raises UserError where the
    template of the model `name` refuses it."""
    turns = shield_turns(tokenizer, turns)
    try:
        return render(tokenizer, turns, reply_next=True, **options)
    except TemplateError as error:
        raise UserError(
            f"model {name}: its chat template refuses the conversation: {error}. A template "
            "without a system turn needs `system: ''` in the eval."
        ) from None
