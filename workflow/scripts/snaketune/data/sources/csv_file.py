"""CSV with a header, UTF-8 with or without a byte order mark."""

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from snaketune.data.faults import RecordError
from snaketune.data.record import Record, Table
from snaketune.data.sources.lines import read_text
from snaketune.runtime.errors import UserError


def read(path: Path, place: str) -> Table:
    """Records of text fields under the header's names. Raises `UserError` for a file that is no
    CSV with a header."""
    # The module's limit of 131,072 characters a field is for guarding servers.
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(io.StringIO(read_text(path, place), newline=""), strict=True)
    header = next(_rows(rows, place), None)
    if header is None:
        raise UserError(f"{place}: line 1: found an empty file, expected a header and records")
    for number, name in enumerate(header, start=1):
        if (first := header.index(name) + 1) < number:
            # By their numbers: where the header is missing, names are a record's own texts.
            found = f"a column name twice, in columns {first} and {number}"
            raise UserError(f"{place}: line 1: found {found}; expected unique names")
    return Table(place, path.name, header, _records(rows, header, place))


def _rows(rows: Iterator[list[str]], place: str) -> Iterator[list[str]]:
    """The rows that hold something. A quote out of place spoils all that follows: an error."""
    try:
        yield from (row for row in rows if row)
    except csv.Error as error:
        raise UserError(
            f"{place}: line {rows.line_num}: found no CSV ({error}), expected fields separated "
            'by commas, with `"` around those that hold commas, quotes or line ends'
        ) from None


def _records(rows: Iterator[list[str]], header: list[str], place: str) -> Iterator[Record]:
    for number, row in enumerate(_rows(rows, place), start=1):
        if len(row) == len(header):
            value = dict(zip(header, row, strict=True))
            yield Record(number, value, value)
        else:
            found = f"{len(row)} fields (the record ends on line {rows.line_num})"
            fault = RecordError(
                "wrong_width", None, found, f"{len(header)} fields, as in the header"
            )
            yield Record(number, fault, row)
