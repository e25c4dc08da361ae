"""Rows of several datasets as those of one training: how often each occurs, exactly.

A part with a weight of 2.5 has each of its rows twice an epoch, and one more time a half of them,
which is drawn. A part with a number of rows has so many that are drawn, each once. A dev split has
all dev rows of all parts once. Ids begin with the dataset's name, so that it is known whose a row
is.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from snaketune.prompts.rows import IGNORED
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_json, read_jsonl, read_table, write_json, write_jsonl


@dataclass(frozen=True)
class MixedRows:
    """A part: where its rows lie, and how often they occur."""

    dataset: str
    folder: Path
    weight: float
    rows: int | None

    @property
    def stats(self) -> dict[str, Any]:
        """What its own rows were counted as."""
        return read_json(self.folder / "stats.json")


def mix_rows(parts: Sequence[MixedRows], seed: int, folder: Path) -> None:
    """Writes what `tokenise` writes for one dataset: the rows of both splits, their statistics and
    what was dropped; the statistics say of each part what it is in an epoch."""
    train = {part.dataset: _occurring(part, seed + i) for i, part in enumerate(parts)}
    dev = {part.dataset: _read(part, "dev") for part in parts}
    for split, tables in (("train", train), ("dev", dev)):
        _write(folder / f"{split}.parquet", pa.concat_tables(tables.values()))
    dropped = [
        {**row, "dataset": part.dataset}
        for part in parts
        for row in read_jsonl(part.folder / "dropped.jsonl")
    ]
    write_jsonl(folder / "dropped.jsonl", dropped)
    lengths = {part.dataset: json.loads(_text(part, "lengths.json")) for part in parts}
    write_json(folder / "lengths.json", {"parts": lengths})
    stats = {part.dataset: part.stats for part in parts}
    first = next(iter(stats.values()))
    kept = ("max_length", "overlong", "template_hash", "example")
    write_json(
        folder / "stats.json",
        {
            "splits": {
                split: _counted([found["splits"][split] for found in stats.values()], tables)
                for split, tables in (("train", train), ("dev", dev))
            },
            "few_shot": sum(found["few_shot"] for found in stats.values()),
            "parts": {
                part.dataset: {"weight": part.weight, "rows": part.rows, "seed": seed + i}
                | _in_epoch(train[part.dataset], stats[part.dataset])
                for i, part in enumerate(parts)
            },
            **{key: first[key] for key in kept},
        },
    )
    for name, part in read_json(folder / "stats.json")["parts"].items():
        print(f"{name}: {part['occurrences']} rows an epoch, {part['different']} different ones")


def _text(part: MixedRows, name: str) -> str:
    return (part.folder / name).read_text(encoding="utf-8")


def _occurring(part: MixedRows, seed: int) -> pa.Table:
    """The train rows of a part, as often as they occur in an epoch."""
    table = _read(part, "train")
    count = len(table)
    order = np.random.default_rng(seed).permutation(count)
    if part.rows is not None:
        if part.rows > count:
            raise UserError(
                f"train: found {count} rows of dataset {part.dataset}, expected at least the "
                f"{part.rows} that are to be drawn of it"
            )
        return table.take(np.sort(order[: part.rows]))
    whole, rest = divmod(part.weight * count, count)
    once_more = np.sort(order[: round(rest)])
    places = [np.arange(count)] * int(whole) + [once_more]
    return table.take(np.concatenate(places).astype(np.int64))


def _read(part: MixedRows, split: str) -> pa.Table:
    table = read_table(part.folder / f"{split}.parquet", ["id", "input_ids", "labels"])
    names = [f"{part.dataset}/{name}" for name in table.column("id").to_pylist()]
    return table.set_column(0, table.schema.field("id"), pa.array(names, pa.string()))


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table.combine_chunks(), temporary, compression="zstd")
    temporary.replace(path)


def _counted(parts: Sequence[dict], tables: dict[str, pa.Table]) -> dict[str, Any]:
    """A split's counts: of examples those of all parts, of rows and tokens those that occur."""
    dropped: Counter[str] = Counter()
    for part in parts:
        dropped.update(part["dropped"])
    tokens = [_tokens(table) for table in tables.values()]
    return {
        **{key: sum(part[key] for part in parts) for key in ("in", "out", "truncated")},
        "dropped": dict(sorted(dropped.items())),
        "occurrences": sum(len(table) for table in tables.values()),
        "tokens": sum(whole for whole, _ in tokens),
        "trained_tokens": sum(learned for _, learned in tokens),
        "lengths": {},
    }


def _in_epoch(table: pa.Table, stats: dict) -> dict[str, Any]:
    """What a part is in an epoch, and the lengths of all of its rows."""
    tokens, learned = _tokens(table)
    return {
        "occurrences": len(table),
        "different": len(set(table.column("id").to_pylist())),
        "tokens": tokens,
        "trained_tokens": learned,
        "lengths": stats["splits"]["train"]["lengths"],
    }


def _tokens(table: pa.Table) -> tuple[int, int]:
    """All tokens, and those that carry loss."""
    labels = table.column("labels").combine_chunks()
    flat = np.asarray(labels.flatten())
    return len(flat), int((flat != IGNORED).sum())
