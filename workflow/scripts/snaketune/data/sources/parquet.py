"""Parquet files."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from snaketune.data.record import Record, Table
from snaketune.errors import UserError


def read(path: Path, place: str) -> Table:
    """The rows of the file. Raises `UserError` where it is no Parquet file."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{place}: found {error}, expected a Parquet file") from None
    return Table(place, path.name, file.schema_arrow.names, _records(file))


def _records(file: pq.ParquetFile) -> Iterator[Record]:
    number = 0
    for batch in file.iter_batches(batch_size=1024):
        for row in batch.to_pylist():
            number += 1
            yield Record(number, row, row)
