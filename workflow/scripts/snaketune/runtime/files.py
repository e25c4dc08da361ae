"""Files that are whole or absent: text, JSON, JSON lines, CSV as every reader takes it, and Parquet
of plain rows. The same values give the same bytes. What this project wrote and can't read again is
damaged: it is named, with what to do. Light: pyarrow is imported where it is used.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snaketune.runtime.errors import UserError, in_cell

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def as_written(path: Path, what: str) -> Iterator[None]:
    """Reads a file that this project wrote. Raises `UserError` where it is not as it was."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"{path}: found {what} that can't be read ({str(reason)[:200]}); expected it as it was "
            "written (a disk that was full, a copy that broke off?). Delete this file: it is made "
            "again"
        ) from error


def read_json(path: Path) -> Any:
    """The value in a file that this project wrote."""
    with as_written(path, "JSON"):
        return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file that this project wrote."""
    with as_written(path, "JSON lines"), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            with as_written(path, f"line {number}"):
                record = json.loads(line.decode("utf-8"))
                if not isinstance(record, dict):
                    raise ValueError("no JSON object")
            yield record


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
    every digit, and no text is a formula to a spreadsheet (see `in_cell`)."""
    found = _Rows()
    table = csv.DictWriter(found, list(columns), restval="", lineterminator="\r\n")
    table.writeheader()
    table.writerows(
        {key: in_cell(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    )
    return "".join(f"{row}\n" for row in found.texts)


def write_rows(path: Path, rows: list[dict[str, Any]], schema: "pa.Schema") -> None:
    """`rows` in the columns of `schema`; a killed process leaves the old file or the new one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
    temporary.replace(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, in order."""
    return read_table(path).to_pylist()


def read_table(path: Path, columns: Sequence[str] | None = None) -> "pa.Table":
    """The file's columns, or the named ones. (`pq.read_table` does the same by way of datasets,
    which import pandas: half a second in every job.)"""
    import pyarrow.parquet as pq

    with as_written(path, "a Parquet file"), pq.ParquetFile(path) as file:
        return file.read(columns and list(columns))
