"""Records as a source gives them, before a format reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan

from snaketune.data.faults import RecordError, describe, fields_found


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


@dataclass(frozen=True)
class Fields:
    """A record's fields, checked as they are taken. Every method raises `RecordError`."""

    value: dict
    private: bool = False

    def text(self, *names: str) -> str:
        """The text of the first of `names` that the record has; it must not be empty."""
        name = self._present(names)
        value = self.value[name]
        if not isinstance(value, str):
            raise self.fault("missing" if value is None else "wrong_type", name, "text")
        if not value.strip():
            raise self.fault("empty", name, "text")
        return value

    def optional_text(self, name: str) -> str | None:
        """The text of `name`; None where it is absent, null, NaN (as tables in Python hold what is
        missing), empty or nothing but white space."""
        value = self.value.get(name)
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
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

    def fault(self, reason: str, name: str, expected: str) -> RecordError:
        """A fault of the field `name`, described as it stands."""
        return RecordError(reason, name, describe(self.value.get(name), self.private), expected)

    def _present(self, names: tuple[str, ...]) -> str:
        for name in names:
            if name in self.value:
                return name
        found = fields_found(list(self.value), self.private)
        raise RecordError("missing", " or ".join(names), found, "text")
