"""Folders that `datasets` wrote with `save_to_disk`."""

from collections.abc import Iterator
from pathlib import Path

import datasets

from snaketune.data.record import Record, Table
from snaketune.runtime.errors import UserError


def read(folder: Path) -> Table:
    """The rows of one saved split."""
    try:
        rows = datasets.load_from_disk(str(folder))
    except Exception as error:
        # Whatever the library trips over, the folder is not one it wrote.
        raise UserError(
            f"{folder}: found {type(error).__name__}: {error}, expected a folder written by "
            "datasets' save_to_disk"
        ) from None
    name = f"{folder.parent.name}/{folder.name}" if folder.parent.name else folder.name
    return Table(str(folder), name, rows.column_names, records_of(rows))


def records_of(rows: datasets.Dataset) -> Iterator[Record]:
    """The rows of a dataset as plain Python values."""
    for number, row in enumerate(rows.with_format(None), start=1):
        yield Record(number, row, row)
