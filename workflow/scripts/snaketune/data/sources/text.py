"""Text files as people keep them: compressed or not, in the usual encodings, tables with any of the
usual separators. What was recognised beside UTF-8 and commas goes with the table, to be told.

What takes long to import is imported where it is needed.
"""

import bz2
import csv
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from snaketune.data.formats.values import LETTERS
from snaketune.data.record import Record, RecordError, Table
from snaketune.runtime.errors import UserError

if TYPE_CHECKING:
    from _csv import Reader as CsvReader


@dataclass(frozen=True)
class Decoded:
    """A file's text without a byte order mark, and what had to be recognised to read it."""

    text: str
    read_as: tuple[str, ...] = ()


def read_text(path: Path, place: str) -> str:
    """The file's text; see `decoded`."""
    return decoded(path, place).text


def decoded(path: Path, place: str) -> Decoded:
    """The text of a file, which messages name as `place`: unpacked where its first bytes say so,
    then as UTF-8, UTF-16, UTF-32 or Windows-1252. Raises `UserError` for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{place}: found {error.strerror}, expected a readable file") from None
    data, packed = _unpacked(data, place)
    _refuse_other_files(data, place)
    encoding = _encoding(data, place)
    return Decoded(data.decode(encoding).removeprefix("\ufeff"), (*packed, *_NAMES[encoding]))


_NAMES: dict[str, tuple[str, ...]] = {
    "utf-8": (),
    "utf-16": ("UTF-16",),
    "utf-16-le": ("UTF-16",),
    "utf-16-be": ("UTF-16",),
    "utf-32": ("UTF-32",),
    "cp1252": ("Windows-1252 (Latin-1)",),
}

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; expected it unpacked, or saved as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; expected it saved as CSV",
    b"PAR1": "a Parquet file; expected its name to end with .parquet",
    b"ARROW1": "an Arrow file; expected a `save_to_disk` folder, or it saved as Parquet",
    b"%PDF": "a PDF; expected its text or tables in a text file",
    b"SQLite format 3": "an SQLite database; expected a table of it saved as CSV",
}


def _unpacked(data: bytes, place: str) -> tuple[bytes, tuple[str, ...]]:
    name = next((name for start, name in _PACKED.items() if data.startswith(start)), None)
    if name is None:
        return data, ()
    try:
        return _UNPACK[name](data), (name,)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        found = f"found {name} data that can't be unpacked ({error})"
        raise UserError(f"{place}: {found}, expected a whole file") from None


def _zstd(data: bytes) -> bytes:
    import pyarrow as pa

    with pa.input_stream(pa.py_buffer(data), compression="zstd") as stream:
        return stream.read()


_UNPACK = {"gzip": gzip.decompress, "bzip2": bz2.decompress, "xz": lzma.decompress, "zstd": _zstd}


def _refuse_other_files(data: bytes, place: str) -> None:
    for start, what in _OTHERS.items():
        if data.startswith(start):
            raise UserError(f"{place}: found {what}")


def _encoding(data: bytes, place: str) -> str:
    """What the bytes are text in. Damaged UTF-8 is not taken for anything else."""
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return _whole(data, "utf-32", place)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _whole(data, "utf-16", place)
    if data.count(0) * 10 > len(data):
        for encoding, zeros in (("utf-16-le", data[1::2]), ("utf-16-be", data[::2])):
            if zeros.count(0) * 10 > len(zeros) * 9:
                return _whole(data, encoding, place)
        raise UserError(f"{place}: found binary data, expected text")
    start = data[:_LOOKED_AT]
    if (len(start) - len(start.translate(None, _CONTROLS))) * 10 > len(start):
        raise UserError(f"{place}: found binary data, expected text")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _of_8_bits(data, error, place)
    return "utf-8"


_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))


def _whole(data: bytes, encoding: str, place: str) -> str:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: byte {error.start + 1}: found no {encoding.upper()} ({error.reason}), "
            "though the file begins as one; expected UTF-8 text"
        ) from None
    return encoding


_LOOKED_AT = 65536
"""Bytes by which an encoding, or a separator, is told."""


def _of_8_bits(data: bytes, error: UnicodeDecodeError, place: str) -> str:
    """Windows-1252, which holds Latin-1, where that makes sense of the bytes that are no ASCII."""
    as_utf8 = data.decode("utf-8", "replace")
    broken = as_utf8.count("\ufffd")
    guess = None
    # Text with umlauts in UTF-8 and some other byte is UTF-8 that was cut or joined.
    if sum(character > "\x7f" for character in as_utf8) - broken < broken:
        from charset_normalizer import from_bytes

        odd = b"\n".join(line for line in data.splitlines() if not line.isascii())[:_LOOKED_AT]
        if _decodes(data, "cp1252") and from_bytes(odd, cp_isolation=["cp1252"]).best():
            return "cp1252"
        guess = from_bytes(odd).best()
    line = data.count(b"\n", 0, error.start) + 1
    hint = (
        f"; to convert it: iconv -f {guess.encoding} -t utf-8 (or what it is in)" if guess else ""
    )
    raise UserError(
        f"{place}: line {line}: found the byte 0x{data[error.start]:02x} (byte "
        f"{error.start + 1} of the file), expected UTF-8 text{hint}"
    )


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


# Tables.

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


_Quoting = Literal[0, 3]
"""csv's QUOTE_MINIMAL and QUOTE_NONE."""


def csv_table(path: Path, place: str) -> Table:
    """Records of text fields under the header's names. Raises `UserError` for a file that is no
    table with a header."""
    # The module's limit of 131,072 characters a field is for guarding servers.
    csv.field_size_limit(sys.maxsize)
    found = decoded(path, place)
    text, separator = _separated(found.text, "\t" if ".tsv" in path.suffixes else ",")
    read_as = list(found.read_as)
    quoting: _Quoting = csv.QUOTE_MINIMAL
    if separator != ",":
        read_as.append(f"separated by {_SEPARATORS.get(separator, repr(separator))}")
    if separator == "\t" and _quotes_are_text(text):
        quoting = csv.QUOTE_NONE
        read_as.append("quotes as text")
    if names := _names_left_out(text, separator):
        text = f"{separator.join(names)}\n{text}"
        read_as.append("no header: question, options and answer, as MMLU has them")
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=True
    )
    header = next(_csv_rows(rows, place, separator), None)
    if header is None:
        raise UserError(f"{place}: line 1: found an empty file, expected a header and records")
    # Columns without a name are as many as a spreadsheet left.
    unnamed = header.index("") if "" in header else 0
    header = [name or f"column {n}" * (unnamed < n - 1) for n, name in enumerate(header, start=1)]
    places: dict[str, int] = {}
    for number, name in enumerate(header, start=1):
        if (first := places.setdefault(name, number)) < number:
            # By their numbers: where the header is missing, names are a record's own texts.
            twice = f"a column name twice, in columns {first} and {number}"
            raise UserError(f"{place}: line 1: found {twice}; expected unique names")
    records = _csv_records(rows, header, place, separator)
    return Table(place, path.name, header, records, tuple(read_as))


def _names_left_out(text: str, separator: str) -> list[str]:
    """MMLU's names of the columns, where all rows, the first one too, are a question, two options
    at least and the letter of one."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    first = next((row for row in rows if row), [])
    letters = list(LETTERS[: max(0, len(first) - 2)])
    if len(letters) < 2 or first[-1].strip() not in letters:
        return []
    alike = all(len(r) == len(first) and r[-1].strip() in letters for r in rows if r)
    return ["question", *letters, "answer"] if alike else []


def _separated(text: str, usual: str) -> tuple[str, str]:
    """The text of a table and what separates its fields: what Excel's `sep=` line says, else the
    usual one where all rows have as many fields as the header, else the one by which most have."""
    first, _, rest = text.partition("\n")
    if (said := first.strip().strip('"')).startswith("sep=") and len(said) == 5:
        return rest, said[-1]
    sample = text[:_LOOKED_AT]
    fits: dict[str, tuple[float, int]] = {}
    for separator in sorted(_SEPARATORS, key=usual.__ne__):
        rows = [r for r in csv.reader(io.StringIO(sample, newline=""), delimiter=separator) if r]
        rows = rows[:-1] if len(text) > len(sample) else rows
        if rows and (width := len(rows[0])) > 1:
            share = sum(len(row) == width for row in rows) / len(rows)
            if separator == usual and share == 1:
                return text, usual
            fits[separator] = share, width
    return text, max(fits, key=lambda s: fits[s], default=usual)


def _quotes_are_text(text: str) -> bool:
    """Whether tabs part the rows evenly only where quotes mean nothing, as many programs write."""
    if '"' not in text:
        return False
    return not _even(text, csv.QUOTE_MINIMAL) and _even(text, csv.QUOTE_NONE)


def _even(text: str, quoting: _Quoting) -> bool:
    rows = csv.reader(io.StringIO(text, newline=""), "excel-tab", quoting=quoting, strict=True)
    try:
        widths = {len(row) for row in rows if row}
    except csv.Error:
        return False
    return len(widths) == 1


def _csv_rows(rows: "CsvReader", place: str, separator: str) -> Iterator[list[str]]:
    """The rows that hold something. A quote out of place spoils all that follows: an error."""
    try:
        yield from (row for row in rows if row)
    except csv.Error as error:
        kind = _SEPARATORS.get(separator, repr(separator))
        raise UserError(
            f"{place}: line {rows.line_num}: found no CSV ({error}), expected fields separated "
            f'by {kind}, with `"` around those that hold {kind}, quotes or line ends'
        ) from None


def _csv_records(
    rows: "CsvReader", header: list[str], place: str, separator: str
) -> Iterator[Record]:
    for number, row in enumerate(_csv_rows(rows, place, separator), start=1):
        if len(row) == len(header):
            value = dict(zip(header, row, strict=True))
            yield Record(number, value, value)
        else:
            found = f"{len(row)} fields (the record ends on line {rows.line_num})"
            fault = RecordError(
                "wrong_width", None, found, f"{len(header)} fields, as in the header"
            )
            yield Record(number, fault, row)
