"""JSON lines."""

import json
from collections.abc import Iterator
from pathlib import Path

from snaketune.data.faults import RecordError, describe, key_twice
from snaketune.data.json_keys import parse
from snaketune.data.record import Record, Table
from snaketune.data.sources.lines import read_text


def read(path: Path, place: str) -> Table:
    """One record a line; lines of white space alone are no records."""
    return Table(place, path.name, None, _records(read_text(path, place)))


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


def _records(text: str) -> Iterator[Record]:
    # Not splitlines: it would also split at U+2028 and its like, which JSON allows inside text.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _record(number, line)


def _record(number: int, line: str) -> Record:
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
