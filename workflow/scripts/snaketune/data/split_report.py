"""What became of a split's records: written beside the examples, read by the manifest."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from snaketune.config.dataset import SplitName
from snaketune.data.check import Checked, Rejected
from snaketune.data.example import Example
from snaketune.data.formats.choices import REPEATED, has_repeats
from snaketune.data.load import Loaded
from snaketune.runtime.files import write_json
from snaketune.runtime.records import unsigned

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

    def write(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "SplitReport":
        """What `write` wrote."""
        return cls(**unsigned(json.loads(path.read_text(encoding="utf-8"))))

    @property
    def refused(self) -> list[Rejected]:
        """The rejected records."""
        return [Rejected.from_row(row) for row in self.rejected]


def counted(records: int, examples: Sequence[Example], rejected: Sequence[Rejected]) -> dict:
    """The counts of a split of so many `records`."""
    reasons = Counter(r.fault.reason for r in rejected)
    return {"in": records, "out": len(examples), "rejected": dict(sorted(reasons.items()))}


def sources_of(loaded: Loaded, split: SplitName, checked: Checked) -> list[dict]:
    """The report's entries for the tables that `checked` was read from."""
    read = Counter(x.source for x in (*checked.examples, *checked.rejected))
    return [
        {"split": split, **origin, "records": read[origin["name"]]}
        for origin in loaded.origins[split]
    ]


def repeats(split: SplitName, kept: list[Example], rejected: list[Rejected]) -> list[dict]:
    """The report's entries for records in which an option stands twice."""
    named = [(e.id, e.source, e.record, True) for e in kept if e.choices and has_repeats(e.choices)]
    named += [(None, r.source, r.record, False) for r in rejected if r.fault.reason == REPEATED]
    keys = ("id", "source", "record", "kept")
    return [{"split": split, **dict(zip(keys, row, strict=True))} for row in named]


def tell(split: SplitName, report: SplitReport) -> None:
    """Prints the counts and the records that somebody should look at."""
    n = report.counts
    reasons = ", ".join(f"{k}: {v}" for k, v in n["rejected"].items()) or "none"
    print(f"{split}: {n['in']} in, {n['out']} out, rejected {reasons}")
    for row in report.repeated_options:
        done = f"kept as {row['id']}" if row["kept"] else "rejected"
        print(f"options repeat, {done}: {row['source']}, record {row['record']} for {split}")
    for r in report.refused[:TOLD]:
        print(f"rejected: {r.source}, record {r.record}: {r.fault}")
    if len(report.rejected) > TOLD:
        print(f"and {len(report.rejected) - TOLD} more in rejected.jsonl")
