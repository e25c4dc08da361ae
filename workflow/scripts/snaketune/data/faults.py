"""What is wrong with a record, and how values are described to the user."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN = 60
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
    if private:
        return f"text of {len(value)} characters"
    # An answer's end is where its final number is missing: show both ends.
    cut = value if len(value) <= _SHOWN else f"{value[: _SHOWN // 2]} … {value[-_SHOWN // 2 :]}"
    return f"the text {json.dumps(cut, ensure_ascii=False)}"
