"""JSON that a user wrote: what it says, and the keys that stand twice in one object there.

JSON leaves open what such an object means; Python keeps the last value in silence.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?')
"""A string of valid JSON; with a colon behind it, a key."""


@dataclass(frozen=True)
class Repeat:
    """A key that stands more than once in one mapping, and the line of each time, from 1."""

    path: tuple[str | int, ...]
    lines: list[int]

    @property
    def times(self) -> str:
        """What was found, in words."""
        return f"this key {len(self.lines)} times"

    @property
    def places(self) -> str:
        """What was found, with all of its lines."""
        *first, last = map(str, dict.fromkeys(self.lines))
        lines = f"lines {', '.join(first)} and {last}" if first else f"line {last}"
        return f"{self.times}, on {lines}"


def parse(text: str) -> tuple[Any, list[Repeat]]:
    """The value, and the keys that stand twice at any depth of it, in their order. Raises as
    `json.loads` does."""
    try:
        return _decode(text), []
    except _TwiceError:
        return json.loads(text), sorted(_repeats(text), key=lambda repeat: repeat.lines)


class _TwiceError(Exception):
    """Some object has a key twice. Which and where is not known while it is read."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _TwiceError
    return value


# Made once: `json.loads` with a hook would make a decoder for every record.
_decode = json.JSONDecoder(object_pairs_hook=_once).decode


class _Pairs(list):
    """An object's keys and values as they stand."""


def _repeats(text: str) -> Iterator[Repeat]:
    """Reads `text` once more with the place of every key in front of it."""
    numbered = _STRING.sub(lambda m: f'"{m.start()}:{m[0][1:]}' if m[1] else m[0], text)
    ends = [match.start() for match in re.finditer("\n", text)]
    for path, places in _twice(json.loads(numbered, object_pairs_hook=_Pairs), ()):
        yield Repeat(path, [bisect_left(ends, place) + 1 for place in places])


def _twice(
    value: object, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], list[int]]]:
    if isinstance(value, _Pairs):
        places: dict[str, list[int]] = {}
        for numbered, inner in value:
            place, _, key = numbered.partition(":")
            places.setdefault(key, []).append(int(place))
            yield from _twice(inner, (*path, key))
        yield from (((*path, key), found) for key, found in places.items() if len(found) > 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _twice(inner, (*path, number))
