"""Which tokens end a reply."""

from collections.abc import Iterable
from typing import Any

from snaketune.prompts.conversation import render
from snaketune.runtime.errors import UserError

_REPLY = "reply"


def end_tokens(tokenizer: Any, generation_configs: Iterable[Any], name: str) -> list[int]:
    """The union, ascending, of the tokenizer's end token, the generation configs' ones, and the
    token with which the chat template closes a reply.

    A base model's end token is often not the one that its template ends a turn with.
    Raises UserError where there is none at all.
    """
    found = _as_set(tokenizer.eos_token_id)
    for config in generation_configs:
        found |= _as_set(config.eos_token_id)
    found |= _as_set(turn_end(tokenizer))
    if not found:
        raise UserError(
            f"model {name}: no end token. Found: no eos_token in tokenizer_config.json, no "
            "eos_token_id in generation_config.json, and no special token after a reply in the "
            "chat template. Expected at least one; set eos_token in tokenizer_config.json."
        )
    return sorted(found)


def turn_end(tokenizer: Any) -> int | None:
    """The special token that the chat template writes after a reply, if it writes one."""
    if not tokenizer.chat_template:
        return None
    after = _after_reply(tokenizer).strip()
    ids = tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return ids[0] if ids and ids[0] in special else None


def turn_ending(tokenizer: Any) -> list[int]:
    """The tokens that the chat template writes after a reply, up to the special one that ends the
    turn; [] where it writes none."""
    end = turn_end(tokenizer)
    if end is None:
        return []
    ids = tokenizer(_after_reply(tokenizer), add_special_tokens=False)["input_ids"]
    return ids[: ids.index(end) + 1]


def _after_reply(tokenizer: Any) -> str:
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _REPLY}]
    return render(tokenizer, messages, reply_next=False).rpartition(_REPLY)[2]


def _as_set(value: int | list[int] | None) -> set[int]:
    if value is None:
        return set()
    return {value} if isinstance(value, int) else set(value)
