"""Thoughts in replies: what a model writes before its answer, between tags or in channels of
special tokens. They are cut before anything scores a reply, and kept beside it; this is the one
place that knows how they look.

Light: steps without a model read replies that were made elsewhere.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

# Tags, and gpt-oss: `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final
# <|message|>…`; Gemma 4: `<|channel>thought … <channel|>…`
_NAME = r"[\w:]*(?:think|thought)\w*"
_CHANNEL = r"<\|channel\|>(?!\s*final)[^<]*<\|message\|>|<\|channel>\w*"
_OPENS = rf"<{_NAME}>|\[THINK\]|<\|begin_of_thought\|>|◁think▷|{_CHANNEL}"
_FINAL = r"<\|channel\|>\s*final[^<]*<\|message\|>|(?<!\|)<channel\|>"
_CLOSE = re.compile(rf"</{_NAME}>|\[/THINK\]|<\|end_of_thought\|>|◁/think▷|{_FINAL}", re.IGNORECASE)
# In the middle of a line the word may be meant, such as `I <think> so`.
_OPEN = re.compile(rf"^[ \t]*(?:{_OPENS}|<\|channel\|?>)", re.IGNORECASE | re.MULTILINE)
_OPENED = re.compile(rf"(?P<mark>{_OPENS})\s*$", re.IGNORECASE)
# The beginning of what may become an opening.
_MAY_OPEN = re.compile(r"\s*(?:<\|?[\w:]*(?:\|>?\w*(?:<\|?\w*)?)?|\[[A-Z]*|◁\w*)?", re.IGNORECASE)
_CLOSERS = {
    "[THINK]": "[/THINK]",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "◁think▷": "◁/think▷",
}


class Parts(NamedTuple):
    """A reply."""

    thoughts: str | None
    """None: it has none."""
    answer: str | None
    """None: the thoughts do not end."""


def holds_thoughts(text: str) -> bool:
    """Whether thoughts are closed somewhere in the text, or it begins with a channel."""
    return _CLOSE.search(text) is not None or text.lstrip().startswith("<|channel")


def split_thoughts(text: str, opened: bool = False) -> Parts:
    """What stands up to the last end of a thought, and what follows it. `opened`: the prompt left a
    thought open. A thought that is opened behind that does not end."""
    ends = list(_CLOSE.finditer(text))
    start = ends[-1].end() if ends else 0
    if _OPEN.search(text[start:]) or (opened and not ends):
        return Parts(text, None)
    if not ends:
        return Parts(None, text)
    return Parts(text[: ends[-1].start()], text[start:].lstrip("\n"))


def without_thoughts(text: str) -> str | None:
    """A reply's answer; None where it breaks off within its thoughts: nothing was answered yet."""
    return split_thoughts(text).answer


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


def opened_thought(text: str) -> str:
    """What opens a thought, with the white space behind it, that the text leaves open at its end;
    empty where it opens none."""
    found = _OPENED.search(text)
    return found[0] if found else ""


def thought_end(opened: str) -> str:
    """What ends a thought that was opened by this mark, and stands before the answer."""
    mark = opened.strip()
    if mark.startswith("<|channel|>"):
        return "<|end|><|start|>assistant<|channel|>final<|message|>"
    if mark.startswith("<|channel>"):
        return "<channel|>"
    return f"\n{_CLOSERS.get(mark.upper(), _CLOSERS.get(mark, mark.replace('<', '</', 1)))}\n\n"


def closed_thought(text: str) -> str:
    """What closes the empty thought that the text opens at its end; nothing where it opens none."""
    opened = opened_thought(text)
    if not opened:
        return ""
    end = thought_end(opened)
    return end if opened[-1].isspace() or not end[0].isspace() else f"\n{end}"


def thought_between(text: str) -> str:
    """The last end of a thought in the text with all behind it; empty where none ends there."""
    ends = list(_CLOSE.finditer(text))
    if not ends:
        return ""
    start = ends[-1].start()
    return text[len(text[:start].rstrip()) :]


_TAIL = 32
"""Tokens that an end of thoughts can take, where it is no special token."""


@dataclass(frozen=True)
class ThoughtBudget:
    """How long a model may think, and what then closes its thought by force."""

    tokens: int
    """Of a thought, at most."""
    answer: int
    """Tokens of the answer behind it, at most."""
    closing: Sequence[int]
    """Tokens that close a thought."""
    opened: bool
    """Whether the prompt leaves one open; else the model may open one, or answer at once."""
    decode: Callable[[Sequence[int]], str]

    @property
    def longest(self) -> int:
        """Tokens of a reply, at most."""
        return self.tokens + len(self.closing) + self.answer

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether the last of the tokens ends a thought."""
        if not set(self.decode(tokens[-1:])) & set(">]▷"):
            return False
        return _CLOSE.search(self.decode(tokens[-_TAIL:])) is not None

    def begun(self, tokens: Sequence[int]) -> tuple[int, int]:
        """How many of the last tokens are the beginning of an end of thoughts, with or without the
        white space before it, and how many tokens of `closing` are then there."""
        blank = next((i for i, t in enumerate(self.closing) if self.decode([t]).strip()), 0)
        for start in (0, blank):
            for end in range(len(self.closing) - 1, max(start, blank), -1):
                if list(tokens[start - end :]) == list(self.closing[start:end]):
                    return end - start, end
        return 0, 0

    def answers_at_once(self, tokens: Sequence[int]) -> bool:
        """Whether the reply begins with no thought."""
        if self.opened:
            return False
        text = self.decode(tokens[: 2 * _TAIL]).lstrip()
        return _OPEN.match(text) is None and _MAY_OPEN.fullmatch(text) is None


@dataclass
class ThoughtWatch:
    """Where in one reply its thought ends, as it grows under a budget."""

    budget: ThoughtBudget
    over: bool = False
    """Whether the thought was cut, and not closed by the model."""
    cut_at: int | None = None
    """The place of the first token that closes it, where some of these were put in."""
    answer_at: int | None = None
    """The place of the answer's first token; None: not yet."""
    pending: list[int] = field(default_factory=list)
    """Tokens that are to be put in."""

    def next(self, picked: int, tokens: Sequence[int]) -> int:
        """The token that follows `tokens`: the one that the model picked, or one that closes its
        thought. An end that the model began within its budget, or right behind, is its own."""
        if not self.pending:
            used_up = self.answer_at is None and len(tokens) >= self.budget.tokens
            if not used_up or self.budget.ended([*tokens, picked]):
                return picked
            own, begun = self.budget.begun([*tokens, picked])
            self.over, self.cut_at = not own, len(tokens) + (1 - own if own else 0)
            self.pending = list(self.budget.closing[max(0, begun - 1) :])
        return self.pending.pop(0)

    def look(self, tokens: Sequence[int]) -> None:
        """Takes note of the last token."""
        if self.answer_at is not None or self.pending:
            return
        if self.cut_at is not None or self.budget.ended(tokens):
            self.answer_at = len(tokens)
        elif self.budget.answers_at_once(tokens):
            self.answer_at = 0

    def finish(
        self, tokens: Sequence[int], ends: Collection[int]
    ) -> Literal["stop", "length"] | None:
        """Why the reply is done; None: it goes on."""
        if self.pending:
            return None
        if tokens[-1] in ends and self.answer_at != len(tokens):
            return "stop"
        spent = self.answer_at is not None and len(tokens) - self.answer_at >= self.budget.answer
        return "length" if spent else None
