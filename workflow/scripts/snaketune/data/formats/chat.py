"""Conversations in the forms that people have: OpenAI's `messages`, ShareGPT's `conversations`,
prompt and completion (text or messages), preference pairs, Alpaca's instruction, input and output.

Which one a record has is told by its keys. The last turn is the answer, the one before it the
question, and what stands before these their history, each turn with its `weight` where it has one.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from snaketune.data.example import HISTORY, WEIGHT, Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.formats.values import read_printed
from snaketune.data.record import (
    Fields,
    RecordError,
    describe,
    fields_found,
    is_blank,
    is_missing,
)

Turn = dict[str, Any]

ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant",
    "bard": "assistant", "model": "assistant",
}  # fmt: skip
"""What datasets call who speaks."""

_NOT_HELD = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking", "tools")
"""Keys that say more than a turn's text does. A turn without it would be another one."""


@data_format(task="open_qa")
class Chat(Format):
    """The turns of a conversation; of a preference pair those with the chosen reply."""

    shown: ClassVar = {
        "messages": [
            {"role": "system", "content": "Answer in a word."},
            {"role": "user", "content": "Which bird can't fly?"},
            {"role": "assistant", "content": "The penguin."},
        ]
    }

    def recognised(self, fields: Fields) -> str | None:
        kind = _kind(fields)
        weighed = any(turn.get(WEIGHT) is not None for turn in _turns_of(fields))
        return f"{kind}, with weights" if weighed else kind

    def example(self, fields: Fields) -> Example:
        _require_plain(fields.value, "")
        turns = _turns_of(fields)
        *before, asked, answer = _checked(turns, _KINDS[_kind(fields)][0])
        meta: dict[str, Any] = {HISTORY: before} if before else {}
        if (weight := answer.get(WEIGHT)) is not None:
            meta[WEIGHT] = weight
        return Example(
            fields.identifier("id"),
            asked["content"],
            answer=answer["content"],
            gold=answer["content"],
            meta=json.dumps(meta, ensure_ascii=False),
        )


def _openai(fields: Fields) -> Iterator[Turn]:
    yield from _listed(fields, "messages")


def _sharegpt(fields: Fields) -> Iterator[Turn]:
    yield from _system(fields)
    yield from _listed(fields, next(name for name in _SHAREGPT if name in fields.value))


def _prompted(name: str) -> Callable[[Fields], Iterator[Turn]]:
    """Of a prompt (text or turns) and what follows it, which may hold the prompt's turns too."""

    def turns(fields: Fields) -> Iterator[Turn]:
        yield from _system(fields)
        follows = _listed(fields, name, "assistant")
        if follows and follows[0]["role"] == "assistant":
            yield from _listed(fields, "prompt", "user")
        yield from follows

    return turns


def _alpaca(fields: Fields) -> Iterator[Turn]:
    yield from _system(fields)
    for number, pair in enumerate(fields.value.get("history") or []):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            expected = "a question and its answer"
            raise RecordError("wrong_type", f"history[{number}]", describe(pair), expected)
        for role, text in zip(("user", "assistant"), pair, strict=True):
            yield _read({"role": role, "content": text}, f"history[{number}]")
    parts = [fields.text("instruction"), fields.optional_text("input")]
    yield _turn("user", "\n\n".join(part for part in parts if part))
    yield _turn("assistant", fields.text("output"))


_SHAREGPT = ("conversations", "conversation")
_KINDS: dict[str, tuple[str, tuple[tuple[str, ...], ...], Callable[[Fields], Iterator[Turn]]]] = {
    "messages (OpenAI)": ("messages", (("messages",),), _openai),
    "conversations (ShareGPT)": ("conversations", (_SHAREGPT,), _sharegpt),
    "preference pairs, of which `chosen` is trained on and `rejected` is not used": (
        "chosen", (("chosen",), ("rejected",)), _prompted("chosen"),
    ),
    "prompt and completion": (
        "completion", (("prompt",), ("completion",)), _prompted("completion"),
    ),
    "instruction, input and output (Alpaca)": (
        "output", (("instruction",), ("output",)), _alpaca,
    ),
}  # fmt: skip
"""By name: the field that a fault is told of, the keys that a record has (of each group one), and
what reads its turns. The first one that fits is taken."""


def _kind(fields: Fields) -> str:
    for name, (_, keys, _) in _KINDS.items():
        if all(any(key in fields.value for key in group) for group in keys):
            return name
    raise RecordError(
        "no_conversation", None, fields_found(list(fields.value)),
        "messages, conversations, prompt and completion, chosen and rejected, or instruction and "
        "output",
    )  # fmt: skip


def _turns_of(fields: Fields) -> list[Turn]:
    return list(_KINDS[_kind(fields)][2](fields))


def _turn(role: str, content: str, weight: int | None = None) -> Turn:
    return {"role": role, "content": content} | ({} if weight is None else {WEIGHT: weight})


def _system(fields: Fields) -> Iterator[Turn]:
    """A system turn that stands beside the others."""
    if text := fields.optional_text("system"):
        yield _turn("system", text)


def _listed(fields: Fields, name: str, alone: str | None = None) -> list[Turn]:
    """The turns in a list; `alone`: whose turn a text by itself is. An empty system turn says
    nothing and is left out."""
    value = fields.value.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _unprinted(value)
    if alone is not None and isinstance(value, str):
        return [_turn(alone, fields.text(name))]
    if not isinstance(value, list) or not value:
        expected = "a list of turns, or text" if alone else "a list of turns"
        raise fields.fault("missing" if value is None else "wrong_type", name, expected)
    turns = [_read(turn, f"{name}[{i}]") for i, turn in enumerate(value)]
    return [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]


def _unprinted(text: str) -> object:
    """A list that a CSV holds as JSON."""
    try:
        return read_printed(text)
    except ValueError:
        return text


def _read(turn: object, place: str) -> Turn:
    if not isinstance(turn, dict):
        raise RecordError("wrong_type", place, describe(turn), "a turn with role and content")
    _require_plain(turn, f"{place}.")
    who, what = ("from", "value") if "from" in turn else ("role", "content")
    role = turn.get(who)
    known = ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        expected = "system, user (human) or assistant (gpt)"
        raise RecordError("unknown_role", f"{place}.{who}", describe(role), expected)
    content = _text(turn.get(what), f"{place}.{what}")
    if known != "system" and is_blank(content):
        raise RecordError("empty", f"{place}.{what}", describe(content), "text")
    weight = turn.get(WEIGHT)
    if is_missing(weight):
        return _turn(known, content)
    if weight not in (0, 1) or known != "assistant":
        expected = "0 or 1, of an assistant's turn"
        raise RecordError("wrong_weight", f"{place}.{WEIGHT}", describe(weight), expected)
    return _turn(known, content, int(weight))


def _text(content: object, place: str) -> str:
    """A turn's text; of a list of parts, all of which must be text, their texts end to end."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise RecordError("wrong_type", place, describe(content), "text, or parts that are text")
    return "".join(map(str, texts))


def _require_plain(value: dict, place: str) -> None:
    for name in _NOT_HELD:
        if not is_missing(found := value.get(name)) and found not in ("", [], {}):
            raise RecordError(
                "more_than_text", f"{place}{name}", describe(found),
                "turns of text alone; write what belongs to a turn into its text",
            )  # fmt: skip


def _checked(turns: list[Turn], name: str) -> list[Turn]:
    """The turns, of which the last ones are a question and its answer."""
    roles = [turn["role"] for turn in turns]
    if roles[-2:] != ["user", "assistant"]:
        found = f"turns of {', '.join(roles[-2:])} at the end"
        raise RecordError("no_reply", name, found, "the user's turn, then the assistant's")
    return turns
