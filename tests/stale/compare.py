"""Are two finished experiments the same results? But for times, memory and machines."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MEASURED = ("seconds", "tokens_per_second", "memory", "minutes")
_OF_CODE = ("made_by", "settings", "as_made")
_CLOSE = 1e-3
"""What log-probabilities and scores may differ by: other rows may have stood in the batch."""


def differences(one: Path, other: Path) -> list[str]:
    """What differs between the results in two folders: tables, weights and replies."""
    return [
        *_of_tables(one / "tables", other / "tables"),
        *_of_files(one, other, "train/*/final/*", bytes),
        *_of_files(one, other, "train/*/snapshots/*/*.safetensors", bytes),
        *_of_files(one, other, "train/*/chosen.json", _plain),
        *_of_records(one, other, "predictions/*/*.jsonl"),
        *_of_records(one, other, "verdicts/*/*.jsonl"),
        *_of_records(one, other, "rewards/*/*.jsonl"),
    ]


def _of_files(one: Path, other: Path, pattern: str, read: Any) -> Iterator[str]:
    # What an earlier config made lies beside what the last one asks for.
    for file in sorted(other.glob(pattern)):
        name = file.relative_to(other)
        if not (one / name).is_file():
            yield f"{name}: is missing"
        elif read is bytes:
            if (one / name).read_bytes() != file.read_bytes():
                yield f"{name}: differs"
        elif not _same(read(one / name), read(file)):
            yield f"{name}: differs"


def _plain(file: Path) -> Any:
    """JSON without what depends on the code and the machine."""
    found = json.loads(file.read_text())
    return {key: value for key, value in found.items() if key not in _OF_CODE}


def _of_records(one: Path, other: Path, pattern: str) -> Iterator[str]:
    return _of_files(one, other, pattern, _records)


def _records(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _of_tables(one: Path, other: Path) -> Iterator[str]:
    yield from _of_files(one, other, "final_metrics.json", _plain)
    yield from _of_files(one, other, "*.csv", _table)


def _table(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        {k: _value(v) for k, v in row.items() if not any(word in k for word in _MEASURED)}
        for row in rows
    ]


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or abs(one - other) <= _CLOSE * max(1.0, abs(one))
    return one == other
