"""Files that are whole or absent: text, JSON, JSON lines, and CSV as every reader takes it. The
same values give the same bytes.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file that this project wrote."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def write_text(path: Path, text: str) -> None:
    """Writes `text` so that a killed process leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def write_json(path: Path, value: object) -> None:
    """`value` as indented JSON, whole or absent."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """One record a line, whole or absent."""
    write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


class _Rows:
    """Collects the writer's rows. It is given `\\r\\n` as their end, so that it quotes both
    characters in a cell; what is kept ends in `\\n`."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, row: str) -> None:
        self.texts.append(row.removesuffix("\r\n"))


def csv_text(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and a row each. What is None, or not in the row, is an empty cell; numbers keep
    every digit."""
    found = _Rows()
    table = csv.DictWriter(found, list(columns), restval="", lineterminator="\r\n")
    table.writeheader()
    table.writerows(rows)
    return "".join(f"{row}\n" for row in found.texts)
