"""Thoughts in replies: what a model writes before its answer, between tags or in channels of
special tokens. They are cut before anything scores a reply, and kept beside it.

Light: steps without a model read replies that were made elsewhere.
"""

import re
from typing import Any, NamedTuple

_TAG = r"[\w:]*(?:think|thought)\w*"
_OPEN = re.compile(rf"\s*(?:<{_TAG}>|\[THINK\])", re.IGNORECASE)
_CLOSE = re.compile(rf"</{_TAG}>|\[/THINK\]", re.IGNORECASE)
# gpt-oss: `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`;
# Gemma 4: `<|channel>thought … <channel|>…`
_CHANNEL = re.compile(r"\s*<\|channel\|?>")
_FINAL = re.compile(r"<\|channel\|>\s*final[^<]*<\|message\|>|(?<!\|)<channel\|>")


class Parts(NamedTuple):
    """A reply."""

    thoughts: str | None
    """None: it has none."""
    answer: str | None
    """None: the thoughts do not end."""


def holds_thoughts(text: str) -> bool:
    """Whether thoughts are closed somewhere in the text."""
    return _CLOSE.search(text) is not None or _CHANNEL.match(text) is not None


def split_thoughts(text: str, opened: bool = False) -> Parts:
    """What stands up to the last end of a thought, and what follows it. `opened`: the prompt left a
    thought open."""
    if _CHANNEL.match(text):
        return _behind(text, list(_FINAL.finditer(text)))
    ends = list(_CLOSE.finditer(text))
    if ends or opened or _OPEN.match(text):
        return _behind(text, ends)
    return Parts(None, text)


def answer_apart(text: str | None, opened: bool = False) -> dict[str, Any]:
    """A reply's `output`, which is its answer, and where it has thoughts these beside it. Thoughts
    that do not end leave no answer."""
    if text is None:
        return {"output": None}
    parts = split_thoughts(text, opened)
    if parts.thoughts is None:
        return {"output": text}
    ended = parts.answer is not None
    return {"output": parts.answer or "", "thoughts": parts.thoughts, "thoughts_ended": ended}


def _behind(text: str, ends: list[re.Match[str]]) -> Parts:
    if not ends:
        return Parts(text, None)
    return Parts(text[: ends[-1].start()], text[ends[-1].end() :].lstrip("\n"))
