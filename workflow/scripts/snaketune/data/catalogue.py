"""A further table about the records, joined to them one to one."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from snaketune.config.dataset import CatalogueSpec, SplitName
from snaketune.data.example import Example
from snaketune.data.formats.base import Format
from snaketune.data.record import Fields, RecordError, Table, fields_found, place_in
from snaketune.runtime.errors import UserError

Key = tuple[str, ...]

_LISTED = 10


@dataclass
class Catalogue:
    """The catalogue's rows by key, and which records of a split, or of all of them, took theirs.

    Keys are compared as text, so that `3` and `"3"` are the same.
    """

    spec: CatalogueSpec
    place: str
    rows: dict[Key, dict]
    taken: set[Key] = field(default_factory=set)
    """Keys of records, whether or not they have a row."""
    shared: list[Key] = field(default_factory=list)
    """Keys that records of several splits have."""
    without: list[Key] = field(default_factory=list)
    """Keys of records that have no row."""
    rejected: set[Key] = field(default_factory=set)
    """Keys of records that were rejected: their rows have a record all the same."""
    settled: int = 0
    """Records of which it is known whether they have a row."""

    def row_of(self, fields: Fields) -> dict:
        """What the catalogue says of a record. Raises `RecordError` for a record whose key cannot
        be read or is another's; one without a row is noted for `require_one_to_one`."""
        key = _key(fields, self.spec.join_on)
        self.settled += 1
        if key in self.taken:
            raise RecordError(
                "repeated_key", ", ".join(self.spec.join_on),
                f"{_shown(key)}, which another record has", "fields that name one record",
            )  # fmt: skip
        self.taken.add(key)
        if key not in self.rows:
            self.without.append(key)
            return dict.fromkeys(self.spec.columns)
        return {name: self.rows[key][name] for name in self.spec.columns}

    def note_rejected(self, fields: Fields) -> None:
        """Of a record that makes no example: its row is not left over. Where its key can't be read
        or is wrong itself, any row may be its."""
        with suppress(RecordError):
            key = _key(fields, self.spec.join_on)
            if key in self.rows:
                self.rejected.add(key)
                self.settled += 1

    def found(self) -> dict:
        """What was noted, to be written as JSON and taken up by `add`."""
        return {
            "taken": sorted(map(list, self.taken)),
            "without": list(map(list, self.without)),
            "rejected": sorted(map(list, self.rejected)),
            "settled": self.settled,
        }

    def add(self, found: dict) -> None:
        """Takes up what another step noted of another split's records."""
        taken, without, rejected = (
            [tuple(key) for key in found[kind]] for kind in ("taken", "without", "rejected")
        )
        self.shared += [key for key in taken if key in self.taken]
        self.taken |= set(taken)
        self.without += without
        self.rejected |= set(rejected)
        self.settled += found["settled"]

    def require_one_to_one(self, records: int | None, where: str) -> None:
        """Raises `UserError` with the records that have no row, those of several splits that share
        one and, where the whole source of so many `records` was read, the rows that have no record:
        more of them than there are records that any row may belong to."""
        faults = []
        if self.without:
            faults.append(_counted(self.without, "record", "without a row in the catalogue"))
        if self.shared:
            faults.append(_counted(self.shared, "row", "with records in several splits"))
        left = [key for key in self.rows if key not in self.taken and key not in self.rejected]
        if records is not None and len(left) > records - self.settled:
            faults.append(_counted(left, "row", "of the catalogue without a record"))
        if faults:
            raise UserError(
                f"{where}.catalogue: {self.place}: found {'; and '.join(faults)}; expected a row "
                f"for every record and a record for every row, by {' and '.join(self.spec.join_on)}"
            )

    def report(self, origin: dict) -> dict:
        """The manifest's entry."""
        joined = sum(key in self.rows for key in self.taken)
        return origin | {
            "join_on": self.spec.join_on,
            "columns": self.spec.columns,
            "rows": len(self.rows),
            "joined": joined,
            "left_over": len(self.rows) - joined,
        }


class Catalogued(Format):
    """The records of another format with the catalogue's columns among their `meta`."""

    def __init__(self, form: Format, catalogue: Catalogue) -> None:
        self.form, self.catalogue = form, catalogue
        self.columns, self.private = form.columns, form.private

    def expand(self, tables: list[Table], split: SplitName) -> list[Table]:
        return self.form.expand(tables, split)

    def recognised(self, fields: Fields) -> str | None:
        return self.form.recognised(fields)

    def example(self, fields: Fields) -> Example:
        try:
            example = self.form.example(fields)
        except RecordError:
            self.catalogue.note_rejected(fields)
            raise
        meta = json.loads(example.meta) | self.catalogue.row_of(fields)
        return replace(example, meta=json.dumps(meta, ensure_ascii=False, default=str))


def read_catalogue(spec: CatalogueSpec, table: Table, where: str) -> Catalogue:
    """The catalogue in `table`. Raises `UserError` for columns that are missing, a row that can't
    be read, and rows that stand twice."""
    at = f"{where}.catalogue: {table.path}"
    rows: dict[Key, dict] = {}
    twice: list[Key] = []
    for record in table.records:
        if isinstance(record.value, RecordError):
            raise UserError(f"{place_in(at, record.number)}: {record.value}")
        _require(record.value, [*spec.join_on, *spec.columns], place_in(at, record.number))
        try:
            key = _key(Fields(record.value), spec.join_on)
        except RecordError as fault:
            raise UserError(f"{place_in(at, record.number)}: {fault}") from None
        if key in rows:
            twice.append(key)
        rows[key] = record.value
    if not rows:
        raise UserError(f"{at}: found no row, expected one a record")
    if twice:
        raise UserError(
            f"{at}: found {_counted(dict.fromkeys(twice), 'row', 'that stand twice')}; expected "
            f"rows that {' and '.join(spec.join_on)} tell apart"
        )
    return Catalogue(spec, table.path, rows)


def _require(row: dict, names: Sequence[str], at: str) -> None:
    for name in names:
        if name not in row:
            found = fields_found(list(row))
            raise UserError(f"{at}: field {name}: found {found}, expected a column of that name")


def _key(fields: Fields, names: Iterable[str]) -> Key:
    values = []
    for name in names:
        if name not in fields.value:
            found = fields_found(list(fields.value))
            raise RecordError("missing", name, found, "a field that the catalogue is joined on")
        values.append(fields.identifier(name))
    return tuple(values)


def _counted(keys: Iterable[Key], noun: str, what: str) -> str:
    keys = list(keys)
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    listed = "; ".join(_shown(key) for key in keys[:_LISTED])
    return f"{len(keys)} {noun}{'' if len(keys) == 1 else 's'} {what} ({listed}{more})"


def _shown(key: Key) -> str:
    return ", ".join(key)
