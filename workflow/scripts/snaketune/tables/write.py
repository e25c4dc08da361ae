"""Tables as CSV, the same bytes each time."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snaketune.jsonl import write_text

Row = dict[str, Any]


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Row]) -> None:
    """What is None, or not in the row, is an empty cell; numbers keep every digit."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def all_columns(rows: Iterable[Row]) -> list[str]:
    """Every key of the rows, in the order of first sight."""
    return list(dict.fromkeys(key for row in rows for key in row))
