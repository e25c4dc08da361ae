"""Files on this machine as tables of records: JSON lines, JSON, CSV, Parquet, paragraphs of text
and folders that `datasets` wrote with `save_to_disk`.

What takes long to import is imported by the reader that needs it.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snaketune.config.base import SPLIT_WORDS
from snaketune.data.record import Record, RecordError, Repeat, Table, describe, key_twice, parse
from snaketune.data.sources.text import csv_table, decoded
from snaketune.runtime.errors import UserError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq


def json_lines_table(path: Path, place: str) -> Table:
    """One record a line; lines of white space alone are no records. A file that is one JSON value
    after all is read as such."""
    found = decoded(path, place)
    if not _begins_with_object(found.text) and _is_value(found.text):
        table = json_table(path, place)
        return replace(table, read_as=(*table.read_as, "one JSON value"))
    return Table(place, path.name, None, _json_lines(found.text), found.read_as)


def _begins_with_object(text: str) -> bool:
    """Whether the first line that holds something is an object by itself."""
    line = text.lstrip().partition("\n")[0]
    return line.startswith("{") and _is_value(line)


def _is_value(text: str) -> bool:
    """Whether it is an object, or a list of objects, in JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)
    )


def as_record(number: int, value: object) -> Record:
    """A JSON value as a record; anything but an object of Unicode text is a fault."""
    if not isinstance(value, dict):
        found = describe(value, private=True)
        return Record(number, RecordError("not_an_object", None, found, "a JSON object"), value)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # JSON can spell half a character (`"\ud83d"`), which UTF-8 can't
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
    """The objects of the file's list, also of one that is wrapped or nested; an object by itself is
    the only record. A file with an object a line is read as such."""
    found = decoded(path, place)
    try:
        value, repeats = parse(found.text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and _begins_with_object(found.text):
            read_as = (*found.read_as, "JSON lines")
            return Table(place, path.name, None, _json_lines(found.text), read_as)
        raise UserError(
            f"{place}: line {error.lineno}, column {error.colno}: found no JSON ({error.msg}), "
            "expected a list of objects, or one object a line"
        ) from None
    except (ValueError, RecursionError) as error:
        # Numbers too long, or brackets too deep, for Python to read.
        fault = "JSON nested too deep" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{place}: found {fault}, expected a list of objects") from None
    if not isinstance(value, list | dict):
        kind = describe(value, private=True)
        raise UserError(f"{place}: line 1: found {kind}, expected a JSON list of objects")
    values, repeats, shape = _listed(value, repeats, place)
    return Table(place, path.name, None, _json_records(values, repeats), (*found.read_as, *shape))


_WRAPPERS = ("data", "rows", "records", "examples", "items", "instances", "samples", "entries")
_OF_A_RECORD = {"question", "prompt", "instruction", "text", "messages", "qa_pairs"}
Shaped = tuple[list, list[Repeat], tuple[str, ...]]


def _listed(value: Any, repeats: list[Repeat], place: str) -> Shaped:
    """The list of records in a JSON value, the keys that stand twice in them, and in which shape
    the list was found where it is not the value itself."""
    if isinstance(value, list):
        return _unnested(value, repeats, (), place)
    lists = {k: v for k, v in value.items() if isinstance(v, list) and all(map(_is_object, v))}
    if value and set(value) <= set(SPLIT_WORDS) and lists.keys() == value.keys():
        raise UserError(
            f"{place}: found the splits {', '.join(value)} in one file, expected a file each, "
            "and a source by split, such as {train: FILE, test: FILE}"
        )
    key = next((k for k in _WRAPPERS if k in lists), None)
    if key is not None and not _OF_A_RECORD & value.keys():
        within = [Repeat(r.path[1:], r.lines) for r in repeats if r.path[0] == key and r.path[1:]]
        return _unnested(lists[key], within, (f"the list under {key}",), place)
    if not repeats and not lists and (rows := _rows_of_columns(value)):
        return rows, [], ("a list or object a column",)
    return [value], [Repeat((0, *repeat.path), repeat.lines) for repeat in repeats], ()


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _rows_of_columns(columns: dict) -> list[dict]:
    """The rows of `{"a": [1, 2], "b": […]}`, or of what pandas writes, `{"a": {"0": 1, …}, …}`;
    none of anything else."""
    values = list(columns.values())
    if values and all(isinstance(v, list) and len(v) == len(values[0]) for v in values):
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    if values and all(isinstance(v, dict) and v.keys() == values[0].keys() for v in values):
        return [{name: columns[name][row] for name in columns} for row in values[0]]
    return []


def _unnested(values: list, repeats: list[Repeat], shape: tuple[str, ...], place: str) -> Shaped:
    """The questions of articles with paragraphs, as SQuAD was first published; other records as
    they are."""
    if not values or not all(
        _is_object(v) and isinstance(v.get("paragraphs"), list) for v in values
    ):
        return values, repeats, shape
    if repeats:
        path = ".".join(map(str, repeats[0].path))
        raise UserError(f"{place}: {path}: found {repeats[0].places}, expected each key once")
    rows = [row for article in values for row in _questions(article, place)]
    return rows, [], (*shape, "SQuAD's articles and paragraphs")


def _questions(article: dict, place: str) -> Iterator[dict]:
    about = {"title": article["title"]} if "title" in article else {}
    for number, paragraph in enumerate(article["paragraphs"], start=1):
        asked = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(asked, list) or not all(map(_is_object, asked)):
            raise UserError(
                f"{place}: paragraph {number} of {describe(article.get('title'), private=True)}: "
                "found no list `qas` of objects, expected the questions of the paragraph"
            )
        for question in asked:
            yield about | {"context": paragraph.get("context")} | question


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


def text_table(path: Path, place: str) -> Table:
    """A record a paragraph, which blank lines part: its `text`, numbered by its first line."""
    found = decoded(path, place)
    records = _paragraphs(found.text.replace("\r\n", "\n").split("\n"))
    return Table(place, path.name, ["text"], records, found.read_as)


def _paragraphs(lines: list[str]) -> Iterator[Record]:
    held: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            held.append(line)
        elif held:
            value = {"text": "\n".join(held)}
            yield Record(number - len(held), value, value)
            held = []


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
    schema = file.schema_arrow
    return Table(
        place, path.name, schema.names, _parquet_records(file), classes=_classes_noted(schema)
    )


def _classes_noted(schema: "pa.Schema") -> dict[str, list[str]]:
    """The class names that `datasets` notes in the files that it writes."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: list(map(str, feature["names"]))
            for name, feature in noted.items()
            if _is_object(feature) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


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
    return Table(str(folder), name, rows.column_names, records_of(rows), classes=class_names(rows))


def class_names(rows: "datasets.Dataset") -> dict[str, list[str]]:
    """By column of classes: what its numbers stand for."""
    import datasets

    of = rows.features.items()
    return {name: f.names for name, f in of if isinstance(f, datasets.ClassLabel) and f.names}


def records_of(rows: "datasets.Dataset") -> Iterator[Record]:
    """The rows of a dataset as plain Python values."""
    for number, row in enumerate(rows.with_format(None), start=1):
        yield Record(number, row, row)


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".jsonl": json_lines_table,
    ".ndjson": json_lines_table,
    ".json": json_table,
    ".csv": csv_table,
    ".tsv": csv_table,
    ".parquet": parquet_table,
    ".txt": text_table,
}
"""By kind (see `kind_of`): what reads a file, which messages name as the second argument says."""
