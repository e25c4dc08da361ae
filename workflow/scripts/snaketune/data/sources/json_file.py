"""A JSON file: a list of objects, or one object."""

import json
from pathlib import Path

from snaketune.data.faults import describe
from snaketune.data.record import Table
from snaketune.data.sources.jsonl import as_record
from snaketune.data.sources.lines import read_text
from snaketune.errors import UserError


def read(path: Path, place: str) -> Table:
    """The objects of the file's list; an object by itself is the only record."""
    try:
        value = json.loads(read_text(path, place))
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
    values = value if isinstance(value, list) else [value]
    records = (as_record(number, v) for number, v in enumerate(values, start=1))
    return Table(place, path.name, None, records)
