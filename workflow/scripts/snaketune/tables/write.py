"""Tables as CSV, the same bytes each time."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snaketune.runtime.files import csv_text, write_text

Row = dict[str, Any]


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Row]) -> None:
    """The table, whole or absent."""
    write_text(path, csv_text(columns, rows))


def all_columns(rows: Iterable[Row]) -> list[str]:
    """Every key of the rows, in the order of first sight."""
    return list(dict.fromkeys(key for row in rows for key in row))
