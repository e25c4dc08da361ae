"""Parquet files of plain rows, whole or absent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_rows(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """`rows` in the columns of `schema`; a killed process leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
    temporary.replace(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, in order."""
    return read_table(path).to_pylist()


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The file's columns, or the named ones. (`pq.read_table` does the same by way of datasets,
    which import pandas: half a second in every job.)"""
    with pq.ParquetFile(path) as file:
        return file.read(columns and list(columns))
