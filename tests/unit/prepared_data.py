"""Small sources for the tests of `snaketune.data`."""

import json
from pathlib import Path

from snaketune.config.dataset import DatasetSpec
from snaketune.data.prepare import Prepared, prepared_from

_NAMES = ["Ada", "Ben", "Cleo", "Dov", "Eve", "Finn", "Gus", "Hal"]


def problem(number: int) -> dict:
    """A record of GSM8K's form; no two have the same text."""
    name, other = _NAMES[number % 8], _NAMES[number // 8 % 8]
    return {
        "question": f"{name} gives {other} {number} shells and keeps {number + 2}. How many?",
        "answer": f"{number} + {number + 2} = {2 * number + 2}\n#### {2 * number + 2}",
    }


def problems(first: int, last: int) -> list[dict]:
    """The problems from `first` to before `last`."""
    return [problem(n) for n in range(first, last)]


def write_lines(path: Path, records: list) -> Path:
    """JSONL; a text among the records is written as it stands."""
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def prepared(source: object, form: str = "gsm8k", **settings: object) -> Prepared:
    """The dataset `d` from `source`, in memory."""
    source = {k: str(v) for k, v in source.items()} if isinstance(source, dict) else str(source)
    return prepared_from(
        DatasetSpec.model_validate({"source": source, "format": form, **settings}), "d"
    )
