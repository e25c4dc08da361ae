"""Records as a source gives them, what is wrong with one, and how values are told to the user.

JSON leaves open what an object means in which a key stands twice; Python keeps the last value in
silence. Here such a key is a fault, with its lines.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any
from unicodedata import category

_SHOWN_CHARACTERS = 60
OVERLAP = "overlap"
"""The reason of a test record that was left out for its overlap with others."""


@dataclass
class RecordError(Exception):
    """One fault of one record. `reason` is the word that the manifest counts by."""

    reason: str
    field: str | None
    found: str
    expected: str

    def __str__(self) -> str:
        field = f"field {self.field}: " if self.field else ""
        return f"{field}found {self.found}, expected {self.expected}"


_OF_LINES = re.compile(r"\.(jsonl|ndjson|txt)(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)


def place_in(file: str, number: int) -> str:
    """`train.jsonl:3`, as editors and terminals take it, where a record's number is its line; else
    `train.csv: record 3`."""
    return f"{file}:{number}" if _OF_LINES.search(file) else f"{file}: record {number}"


def key_twice(path: Iterable[str | int], found: str) -> RecordError:
    """The fault of a record that has the key at `path` more than once."""
    field = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return RecordError("duplicate_key", field.removeprefix("."), found, "each key once")


def describe(value: object, private: bool = False) -> str:
    """A value in words; a private one by type and length only, never by its text."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return _text(value, private)
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object ({_names(list(value), private)})"
    kind = type(value).__name__
    return f"a value of type {kind}" if private else f"{value} ({kind})"


def fields_found(names: list[str], private: bool = False) -> str:
    """The fields or columns that are there."""
    return f"no such field ({_names(names, private)})"


def _names(names: list[str], private: bool) -> str:
    # A CSV without its header has a record where the column names should be.
    shown = "" if private or not names else f": {', '.join(map(str, names))[:200]}"
    return f"{len(names)} field{'' if len(names) == 1 else 's'}{shown}"


def _text(value: str, private: bool) -> str:
    if not value.strip():
        return "empty text"
    if is_blank(value):
        return f"{len(value)} characters that show nothing"
    if private:
        return f"text of {len(value)} characters"
    # An answer's end is where its final number is missing: show both ends.
    cut = (
        value
        if len(value) <= _SHOWN_CHARACTERS
        else f"{value[: _SHOWN_CHARACTERS // 2]} … {value[-_SHOWN_CHARACTERS // 2 :]}"
    )
    return f"the text {json.dumps(cut, ensure_ascii=False)}"


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
    for path, places in _keys_twice(json.loads(numbered, object_pairs_hook=_Pairs), ()):
        yield Repeat(path, [bisect_left(ends, place) + 1 for place in places])


def _keys_twice(
    value: object, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], list[int]]]:
    if isinstance(value, _Pairs):
        places: dict[str, list[int]] = {}
        for numbered, inner in value:
            place, _, key = numbered.partition(":")
            places.setdefault(key, []).append(int(place))
            yield from _keys_twice(inner, (*path, key))
        yield from (((*path, key), found) for key, found in places.items() if len(found) > 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _keys_twice(inner, (*path, number))


# Letters by their category, which show nothing: fillers of Hangul, and Braille without a dot.
_BLANK = set("\u115f\u1160\u3164\uffa0\u2800")
_NOT_A_NUMBER = {"NaN", "nan", "<NA>"}


def is_blank(text: str) -> bool:
    """Whether nothing of it is seen: white space, control characters, marks of no width."""
    if not (bare := text.strip()):
        return True
    return all(c in _BLANK or c.isspace() or category(c) in ("Cc", "Cf") for c in bare)


_LONGEST = 400_000  # bytes; it stands in front of every reply that is judged


def fault_of_words(file: Path) -> str | None:
    """What is wrong with a file of words that a model is to read; None: nothing."""
    try:
        if not file.is_file():
            return f"found {file}, which is no file"
        if (size := file.stat().st_size) > _LONGEST:
            return f"found {file}, of {size:,} bytes; expected text of {_LONGEST:,} at most"
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        return f"found {file}, whose byte {error.start + 1:,} is no UTF-8; expected text"
    except OSError as error:
        return f"found {file}, which can't be read ({error.strerror}); expected text"
    if is_blank(text):
        return f"found {file}, which shows nothing; expected text"
    for number, line in enumerate(text.split("\n"), start=1):
        if found := next((c for c in line if category(c) == "Cc" and not c.isspace()), None):
            return f"found {file}, line {number}: the control character {found!r}; expected text"
    return None


def is_missing(value: object) -> bool:
    """Whether it is null or NaN."""
    return value is None or (isinstance(value, float) and isnan(value))


@dataclass(frozen=True)
class Record:
    """One record: its fields, or the fault that kept the source from reading them.

    `number` counts from 1: lines in JSONL, records elsewhere (a CSV's header is none). `raw` is
    what the source holds, for the list of rejected records.
    """

    number: int
    value: dict | RecordError
    raw: object


@dataclass(frozen=True)
class Table:
    """The records of one file, in order.

    `path` is for messages, `name` (never absolute) for what is written. `columns` is None where
    each record has fields of its own.
    """

    path: str
    name: str
    columns: list[str] | None
    records: Iterator[Record]
    read_as: tuple[str, ...] = ()
    """What had to be recognised to read the file, in words: its encoding, its separator, …"""
    classes: dict[str, list[str]] = field(default_factory=dict)
    """By column: the names that its whole numbers, from 0, stand for."""


@dataclass(frozen=True)
class Fields:
    """A record's fields, checked as they are taken. Every method raises `RecordError`."""

    value: dict
    private: bool = False
    classes: dict[str, list[str]] = field(default_factory=dict)
    """By field: the names that its numbers stand for, where the source says so."""

    def text(self, *names: str) -> str:
        """The text of the first of `names` that the record has; it must not be empty."""
        name = self._present(names)
        value = self.value[name]
        if not isinstance(value, str):
            raise self.fault("missing" if is_missing(value) else "wrong_type", name, "text")
        if is_blank(value):
            raise self.fault("empty", name, "text")
        if value.strip() in _NOT_A_NUMBER:
            expected = "text; programs write this where a value is missing"
            raise self.fault("missing", name, expected)
        return value

    def optional_text(self, name: str) -> str | None:
        """The text of `name`; None where it is absent, null, NaN (as tables in Python hold what is
        missing), empty or nothing but white space."""
        value = self.value.get(name)
        if is_missing(value):
            return None
        if isinstance(value, str) and (is_blank(value) or value.strip() in _NOT_A_NUMBER):
            return None
        return self.text(name)

    def identifier(self, *names: str) -> str:
        """The first of `names` that the record has, as text; empty where it has none."""
        name = next((n for n in names if n in self.value), None)
        if name is None:
            return ""
        value = self.value[name]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            return value.strip()
        raise self.fault("wrong_type", name, "text or a whole number")

    def class_name(self, name: str) -> str | None:
        """What the number in the field `name` stands for, where the source says so."""
        value, names = self.value.get(name), self.classes.get(name, [])
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return names[value] if 0 <= value < len(names) else None

    def fault(self, reason: str, name: str, expected: str) -> RecordError:
        """A fault of the field `name`, described as it stands."""
        return RecordError(reason, name, describe(self.value.get(name), self.private), expected)

    def _present(self, names: tuple[str, ...]) -> str:
        for name in names:
            if name in self.value:
                return name
        found = fields_found(list(self.value), self.private)
        raise RecordError("missing", " or ".join(names), found, "text")
