"""Every record is read into an example or rejected with its reason; the report of it is written
beside the split's examples and read by the manifest.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from snaketune.config.dataset import SplitName
from snaketune.data.example import GROUP, Example
from snaketune.data.formats.base import Format
from snaketune.data.formats.values import REPEATED, has_repeats
from snaketune.data.record import (
    Fields,
    Record,
    RecordError,
    Table,
    describe,
    fields_found,
    place_in,
)
from snaketune.data.tables import Loaded
from snaketune.runtime.content import unsigned
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_json, write_json

_SHOWN = 5


@dataclass(frozen=True)
class Rejected:
    """A record that became no example. `source` is a file's name, without its folder."""

    source: str
    record: int
    fault: RecordError
    raw: Any

    @classmethod
    def from_row(cls, row: dict) -> "Rejected":
        """What `row` wrote."""
        fault = RecordError(row["reason"], row["field"], row["found"], row["expected"])
        return cls(row["source"], row["record"], fault, row["raw"])

    def row(self) -> dict:
        """The record as it is listed in rejected.jsonl."""
        fault = self.fault
        return {
            "source": self.source,
            "record": self.record,
            "field": fault.field,
            "reason": fault.reason,
            "found": fault.found,
            "expected": fault.expected,
            "raw": json.loads(json.dumps(self.raw, default=str)),
        }


@dataclass(frozen=True)
class Checked:
    """What became of the records that were read of one split's source."""

    examples: list[Example]
    rejected: list[Rejected]
    records: int
    recognised: dict[str, int] = field(default_factory=dict)
    """How many records were taken for what, where a format reads several shapes."""


def check_records(
    tables: list[Table],
    split: SplitName,
    dataset: str,
    form: Format,
    limit: int | None,
    group: str | None = None,
) -> Checked:
    """Reads the records of `tables`, at most `limit` of them, each with its `group`.

    Raises `UserError` for a table that lacks a column, and where there is no record at all.
    """
    for table in tables:
        _require_columns(table, form)
    tables = form.expand(tables, split)
    places: dict[str, str] = {}
    examples: list[Example] = []
    rejected: list[Rejected] = []
    recognised: Counter[str] = Counter()
    records = 0
    for table, record in islice(_all(tables), limit):
        records += 1
        number = _file_part(table, tables) + f"{record.number:05d}"
        try:
            example = _example(record, table, form, f"{dataset}-{split}-{number}")
            example = _grouped(example, record, form, group)
            place = place_in(table.name, record.number)
            _require_new_id(example.id, places, place, form.private)
        except RecordError as fault:
            raw = None if form.private else record.raw
            rejected.append(Rejected(table.name, record.number, fault, raw))
        else:
            examples.append(replace(example, source=table.name, record=record.number))
            recognised.update(_recognised(record, form))
    if not records:
        listed = ", ".join(table.path for table in tables)
        raise UserError(f"{listed}: found no record, expected at least one for {split}")
    return Checked(examples, rejected, records, dict(recognised))


def refuse_too_many(
    rejected: Sequence[Rejected],
    total: int,
    split: SplitName,
    at_most: float,
    where: str,
    paths: Mapping[str, str],
) -> None:
    """Raises `UserError`, with the first few rejected records, where their share of `total` is
    above `at_most`. `paths` has the files' paths by their names."""
    if len(rejected) <= at_most * total:
        return
    raise UserError(
        f"{where}: {len(rejected)} of {total} records for {split} rejected "
        f"({len(rejected) / total:.2%}; rejected_at_most allows {at_most:.2%}):\n"
        + first_rejected(rejected, paths)
        + f"\nMend the records, or raise {where}.rejected_at_most to go on without them."
    )


def first_rejected(rejected: Sequence[Rejected], paths: Mapping[str, str]) -> str:
    """The first few with file, record and fault, a line each, and how many more there are."""
    shown = [(place_in(paths.get(r.source, r.source), r.record), r) for r in rejected[:_SHOWN]]
    lines = [f"  {place}: {r.fault}" for place, r in shown]
    if len(rejected) > _SHOWN:
        lines.append(f"  and {len(rejected) - _SHOWN} more")
    return "\n".join(lines)


def _all(tables: list[Table]) -> Iterator[tuple[Table, Record]]:
    for table in tables:
        for record in table.records:
            yield table, record


def _file_part(table: Table, tables: list[Table]) -> str:
    """What tells records with the same number apart where a split has several files."""
    return f"{PurePath(table.name).stem}-" if len(tables) > 1 else ""


def _example(record: Record, table: Table, form: Format, own_id: str) -> Example:
    if isinstance(record.value, RecordError):
        # A key that stands twice may be a prompt that stands in the wrong place.
        raise replace(record.value, field=None) if form.private else record.value
    example = form.example(Fields(record.value, form.private, table.classes))
    return example if example.id else replace(example, id=own_id)


def _recognised(record: Record, form: Format) -> list[str]:
    """What a record that became an example was taken for."""
    assert isinstance(record.value, dict), "a record that was read"
    found = form.recognised(Fields(record.value, form.private))
    return [] if found is None else [found]


def _grouped(example: Example, record: Record, form: Format, group: str | None) -> Example:
    """The example with the value of its record's field `group`."""
    if group is None or isinstance(record.value, RecordError):
        return example
    name = Fields(record.value, form.private).identifier(group)
    if not name:
        raise RecordError("no_group", group, "nothing", "what records that belong together share")
    return replace(example, meta=json.dumps(json.loads(example.meta) | {GROUP: name}))


def _require_new_id(name: str, places: dict[str, str], place: str, private: bool) -> None:
    if name in places:
        found = f"{describe(name, private)}, which {places[name]} has too"
        raise RecordError("duplicate_id", "id", found, "a unique id")
    places[name] = place


def _require_columns(table: Table, form: Format) -> None:
    if table.columns is None:
        return
    for names in form.columns:
        if not any(name in table.columns for name in names):
            raise UserError(
                f"{table.path}: line 1: field {' or '.join(names)}: found "
                f"{fields_found(table.columns, form.private)}, expected a column of that name"
            )


TOLD = 20
"""Rejected records that the log names; the file has all."""


@dataclass(frozen=True)
class SplitReport:
    """Plain values, nothing of this machine or of today."""

    counts: dict
    """`{in, out, rejected: {reason: n}}`. Records that were held out for dev count there, not under
    train."""
    sources: list[dict] = field(default_factory=list)
    """Every table with its split, identity and the number of records read from it."""
    rejected: list[dict] = field(default_factory=list)
    """Rows of rejected.jsonl."""
    repeated_options: list[dict] = field(default_factory=list)
    """The records in which an option stands twice, kept or rejected; a rejected one has no id."""
    unused: list[str] = field(default_factory=list)
    """Splits of a hub dataset that serve as none of ours."""
    not_drawn: int = 0
    catalogue: dict | None = None
    """Which of the catalogue's rows the records took: see `Catalogue.found`."""
    held_out: list[int] = field(default_factory=list)
    """Of a dev split that was held out: the places of its records among all training records."""
    overlaps: dict[str, dict] = field(default_factory=dict)
    """Of a test split that overlapping records were left out of: what was found before."""
    recognised: dict[str, int] = field(default_factory=dict)
    """How many of the records that the split was read from were taken for what; not written where
    nothing had to be recognised."""

    def write(self, path: Path) -> None:
        """As JSON."""
        kept = asdict(self).items()
        write_json(path, {k: v for k, v in kept if k != "recognised" or v})

    @classmethod
    def read(cls, path: Path) -> "SplitReport":
        """What `write` wrote."""
        return cls(**unsigned(read_json(path)))

    @property
    def refused(self) -> list[Rejected]:
        """The rejected records."""
        return [Rejected.from_row(row) for row in self.rejected]


def counts_of(records: int, examples: Sequence[Example], rejected: Sequence[Rejected]) -> dict:
    """The counts of a split of so many `records`."""
    reasons = Counter(r.fault.reason for r in rejected)
    return {"in": records, "out": len(examples), "rejected": dict(sorted(reasons.items()))}


def sources_of(loaded: Loaded, split: SplitName, checked: Checked) -> list[dict]:
    """The report's entries for the tables that `checked` was read from."""
    read = Counter(e.source for e in checked.examples)
    read += Counter(r.source for r in checked.rejected)
    labels = {e.label for e in checked.examples}
    return [
        {"split": split, **origin, "records": read[origin["name"]], **_read_as(table, labels)}
        for table, origin in zip(loaded.tables[split], loaded.origins[split], strict=True)
    ]


def _read_as(table: Table, labels: set[str | None]) -> dict[str, list[str]]:
    """What was recognised to read a table, in words; nothing where it is as usual."""
    named = [
        f"numbers of {column} as the source's class names"
        for column, names in table.classes.items()
        if labels & set(names)
    ]
    words = [*table.read_as, *named]
    return {"read_as": words} if words else {}


def repeated_options_of(
    split: SplitName, kept: list[Example], rejected: list[Rejected]
) -> list[dict]:
    """The report's entries for records in which an option stands twice."""
    named: list[tuple[str | None, str, int, bool]]
    named = [(e.id, e.source, e.record, True) for e in kept if e.choices and has_repeats(e.choices)]
    named += [(None, r.source, r.record, False) for r in rejected if r.fault.reason == REPEATED]
    keys = ("id", "source", "record", "kept")
    return [{"split": split, **dict(zip(keys, row, strict=True))} for row in named]


def print_report(split: SplitName, report: SplitReport) -> None:
    """Prints the counts and the records that somebody should look at."""
    n = report.counts
    reasons = ", ".join(f"{k}: {v}" for k, v in n["rejected"].items()) or "none"
    print(f"{split}: {n['in']} in, {n['out']} out, rejected {reasons}")
    for what, count in report.recognised.items():
        print(f"{split}: {count} taken for {what}")
    for source in report.sources:
        if words := source.get("read_as"):
            print(f"{source['name']} was read as: {', '.join(words)}")
    for row in report.repeated_options:
        done = f"kept as {row['id']}" if row["kept"] else "rejected"
        print(f"options repeat, {done}: {row['source']}, record {row['record']} for {split}")
    for r in report.refused[:TOLD]:
        print(f"rejected: {r.source}, record {r.record}: {r.fault}")
    if len(report.rejected) > TOLD:
        print(f"and {len(report.rejected) - TOLD} more in rejected.jsonl")
