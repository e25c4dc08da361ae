"""Files on this machine as tables of records: JSON lines, JSON, CSV, Parquet, paragraphs of text
and folders that `datasets` wrote with `save_to_disk`.

What takes long to import is imported by the reader that needs it.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from snaketune.data.record import Record, RecordError, Repeat, Table, describe, key_twice, parse
from snaketune.runtime.errors import UserError

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq


def read_text(path: Path, place: str) -> str:
    """The file's text without a byte order mark. Raises `UserError`, which names the file as
    `place`, where it is not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{place}: found {error.strerror}, expected a readable file") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{place}: line {line}: found the byte 0x{data[error.start]:02x} (byte "
            f"{error.start + 1} of the file), expected UTF-8 text"
        ) from None


def json_lines_table(path: Path, place: str) -> Table:
    """One record a line; lines of white space alone are no records."""
    return Table(place, path.name, None, _json_lines(read_text(path, place)))


def as_record(number: int, value: object) -> Record:
    """A JSON value as a record; anything but an object of Unicode text is a fault."""
    if not isinstance(value, dict):
        found = describe(value, private=True)
        return Record(number, RecordError("not_an_object", None, found, "a JSON object"), value)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # JSON can spell half a character (`"\ud83d"`), which no file can hold as UTF-8.
        fault = RecordError("not_unicode", None, "half of a surrogate pair", "Unicode text")
        return Record(number, fault, json.dumps(value))
    return Record(number, value, value)


def _json_lines(text: str) -> Iterator[Record]:
    # Not splitlines: it would also split at U+2028 and its like, which JSON allows inside text.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _json_line(number, line)


def _json_line(number: int, line: str) -> Record:
    try:
        value, repeats = parse(line)
        if repeats and isinstance(value, dict):
            # The line, as the value has lost what stood there first.
            return Record(number, key_twice(repeats[0].path, repeats[0].times), line)
        return as_record(number, value)
    except ValueError as error:
        # The line itself is not shown: its format may be one whose text must not be.
        found = str(error).replace(": line 1 column", " at column")
        return Record(number, RecordError("not_json", None, found, "one JSON object a line"), line)
    except RecursionError:
        fault = RecordError("not_json", None, "JSON nested too deep", "one JSON object a line")
        return Record(number, fault, line)


def json_table(path: Path, place: str) -> Table:
    """The objects of the file's list; an object by itself is the only record."""
    try:
        value, repeats = parse(read_text(path, place))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place}: line {error.lineno}, column {error.colno}: found no JSON ({error.msg}), "
            "expected a list of objects; one object a line belongs in a .jsonl file"
        ) from None
    except (ValueError, RecursionError) as error:
        # Numbers too long, or brackets too deep, for Python to read.
        found = "JSON nested too deep" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{place}: found {found}, expected a list of objects") from None
    if not isinstance(value, list | dict):
        found = describe(value, private=True)
        raise UserError(f"{place}: line 1: found {found}, expected a JSON list of objects")
    if isinstance(value, dict):
        value = [value]
        repeats = [Repeat((0, *repeat.path), repeat.lines) for repeat in repeats]
    return Table(place, path.name, None, _json_records(value, repeats))


def _json_records(values: list, repeats: list[Repeat]) -> Iterator[Record]:
    """The records of a list; `repeats` are the keys that stand twice in it."""
    first: dict[str | int, Repeat] = {}
    for each in repeats:
        first.setdefault(each.path[0], each)
    for place, value in enumerate(values):
        if (repeat := first.get(place)) and isinstance(value, dict):
            yield Record(place + 1, key_twice(repeat.path[1:], repeat.places), value)
        else:
            yield as_record(place + 1, value)


def csv_table(path: Path, place: str) -> Table:
    """Records of text fields under the header's names. Raises `UserError` for a file that is no
    CSV with a header."""
    # The module's limit of 131,072 characters a field is for guarding servers.
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(io.StringIO(read_text(path, place), newline=""), strict=True)
    header = next(_csv_rows(rows, place), None)
    if header is None:
        raise UserError(f"{place}: line 1: found an empty file, expected a header and records")
    for number, name in enumerate(header, start=1):
        if (first := header.index(name) + 1) < number:
            # By their numbers: where the header is missing, names are a record's own texts.
            found = f"a column name twice, in columns {first} and {number}"
            raise UserError(f"{place}: line 1: found {found}; expected unique names")
    return Table(place, path.name, header, _csv_records(rows, header, place))


def _csv_rows(rows: "CsvReader", place: str) -> Iterator[list[str]]:
    """The rows that hold something. A quote out of place spoils all that follows: an error."""
    try:
        yield from (row for row in rows if row)
    except csv.Error as error:
        raise UserError(
            f"{place}: line {rows.line_num}: found no CSV ({error}), expected fields separated "
            'by commas, with `"` around those that hold commas, quotes or line ends'
        ) from None


def _csv_records(rows: "CsvReader", header: list[str], place: str) -> Iterator[Record]:
    for number, row in enumerate(_csv_rows(rows, place), start=1):
        if len(row) == len(header):
            value = dict(zip(header, row, strict=True))
            yield Record(number, value, value)
        else:
            found = f"{len(row)} fields (the record ends on line {rows.line_num})"
            fault = RecordError(
                "wrong_width", None, found, f"{len(header)} fields, as in the header"
            )
            yield Record(number, fault, row)


def parquet_table(path: Path, place: str) -> Table:
    """The rows of the file. Raises `UserError` where it is no Parquet file, and where two columns
    have one name: a row of them would keep the last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{place}: found {error}, expected a Parquet file") from None
    if twice := next(_names_twice(file.schema_arrow), None):
        raise UserError(f"{place}: found the column {twice} twice, expected unique names")
    return Table(place, path.name, file.schema_arrow.names, _parquet_records(file))


def _names_twice(fields: "Iterable[pa.Field]", within: str = "") -> Iterator[str]:
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


def _parquet_records(file: "pq.ParquetFile") -> Iterator[Record]:
    number = 0
    for batch in file.iter_batches(batch_size=1024):
        for row in batch.to_pylist():
            number += 1
            yield Record(number, row, row)


def saved_table(folder: Path) -> Table:
    """The rows of one saved split."""
    import datasets

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


def records_of(rows: "datasets.Dataset") -> Iterator[Record]:
    """The rows of a dataset as plain Python values."""
    for number, row in enumerate(rows.with_format(None), start=1):
        yield Record(number, row, row)


def text_table(path: Path, place: str) -> Table:
    """A record a paragraph, with its `text`: paragraphs stand apart by blank lines. Records are
    numbered by their first line."""
    lines = read_text(path, place).replace("\r\n", "\n").split("\n")
    return Table(place, path.name, ["text"], _paragraphs(lines))


def _paragraphs(lines: list[str]) -> Iterator[Record]:
    held: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            held.append(line)
        elif held:
            value = {"text": "\n".join(held)}
            yield Record(number - len(held), value, value)
            held = []


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": json_lines_table,
    ".json": json_table,
    ".csv": csv_table,
    ".parquet": parquet_table,
    ".txt": text_table,
}
"""By suffix: what reads a file, which messages name as the second argument says."""
