"""Parquet files."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from snaketune.data.record import Record, Table
from snaketune.runtime.errors import UserError


def read(path: Path, place: str) -> Table:
    """The rows of the file. Raises `UserError` where it is no Parquet file, and where two columns
    have one name: a row of them would keep the last."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{place}: found {error}, expected a Parquet file") from None
    if twice := next(_names_twice(file.schema_arrow), None):
        raise UserError(f"{place}: found the column {twice} twice, expected unique names")
    return Table(place, path.name, file.schema_arrow.names, _records(file))


def _names_twice(fields: Iterable[pa.Field], within: str = "") -> Iterator[str]:
    """Names that several columns have, or several fields of a column."""
    seen: set[str] = set()
    for field in fields:
        name = f"{within}{field.name}"
        if field.name in seen:
            yield name
        seen.add(field.name)
        kind = field.type
        inner = [kind.field(i) for i in range(kind.num_fields)]
        yield from _names_twice(inner, f"{name}.")


def _records(file: pq.ParquetFile) -> Iterator[Record]:
    number = 0
    for batch in file.iter_batches(batch_size=1024):
        for row in batch.to_pylist():
            number += 1
            yield Record(number, row, row)
