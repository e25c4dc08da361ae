"""A JSON file: a list of objects, or one object."""

import json
from collections.abc import Iterator
from pathlib import Path

from snaketune.data.faults import describe, key_twice
from snaketune.data.json_keys import Repeat, parse
from snaketune.data.record import Record, Table
from snaketune.data.sources.jsonl import as_record
from snaketune.data.sources.lines import read_text
from snaketune.runtime.errors import UserError


def read(path: Path, place: str) -> Table:
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
    return Table(place, path.name, None, _records(value, repeats))


def _records(values: list, repeats: list[Repeat]) -> Iterator[Record]:
    """The records of a list; `repeats` are the keys that stand twice in it."""
    first: dict[str | int, Repeat] = {}
    for repeat in repeats:
        first.setdefault(repeat.path[0], repeat)
    for place, value in enumerate(values):
        repeat = first.get(place)
        if repeat and isinstance(value, dict):
            yield Record(place + 1, key_twice(repeat.path[1:], repeat.places), value)
        else:
            yield as_record(place + 1, value)
