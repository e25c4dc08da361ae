"""How the runs were trained, and what it took."""

from typing import TypedDict

from snaketune.report.sources import Json, Sources
from snaketune.report.text import duration, number, size
from snaketune.report.use import MEASURED
from snaketune.runtime.records import settings_of
from snaketune.tables.summary import flat


class Matrix(TypedDict):
    """A table with a column a run."""

    columns: list[str]
    rows: list[tuple[str, list[str]]]
    """(name, text by run)"""
    folded: list[tuple[str, list[str]]]
    """Rows of less interest."""


_RESOURCES = ("wall_seconds", "tokens_per_second", "peak_memory_bytes", "device_name")
_RESOURCES += ("steps", "tokens", "trained_tokens", "final_loss", "best", "best_step", "best_value")
_SHOWN = len(_RESOURCES)
_ELSEWHERE = ("model", "method", "seed", *MEASURED)
"""They stand among the settings, or beside what was asked for."""
_NAMES = {
    "wall_seconds": "time",
    "tokens_per_second": "tokens a second",
    "peak_memory_bytes": "peak memory",
    "device_name": "processor",
}


def settings(sources: Sources) -> Matrix:
    """Hyperparameters by run: what differs is shown, what all share is behind a fold."""
    found = {
        run["run"]: {
            "model": run["model"],
            "training data": run["train_data"],
            **_recorded(sources.train_meta[run["run"]]),
        }
        for run in sources.runs
        if run["run"] in sources.train_meta
    }
    rows = _rows(found)
    if len(found) == 1:
        return Matrix(columns=list(found), rows=rows, folded=[])
    differs = [row for row in rows if len(set(row[1])) > 1]
    return Matrix(columns=list(found), rows=differs, folded=[r for r in rows if r not in differs])


def _recorded(meta: Json) -> Json:
    """Seed and hyperparameters, as the training itself recorded them."""
    settings = settings_of(meta)
    return {"seed": settings["seed"], **flat(settings["preset"])}


def resources(sources: Sources) -> Matrix:
    """Training time, speed, memory and device by run."""
    rows = _rows({run: _measured(meta) for run, meta in sources.train_meta.items()})
    return Matrix(columns=list(sources.train_meta), rows=rows[:_SHOWN], folded=rows[_SHOWN:])


def _rows(found: dict[str, Json]) -> list[tuple[str, list[str]]]:
    keys = dict.fromkeys(key for row in found.values() for key in row)
    return [(_named(key), [number(row.get(key)) for row in found.values()]) for key in keys]


def _named(key: str) -> str:
    return _NAMES.get(key, key.replace("_", " "))


def _measured(meta: Json) -> Json:
    """What was measured, what it took first; digests and versions have their place elsewhere."""
    plain = {k: v for k, v in meta.items() if not isinstance(v, dict | list)}
    shown = {k: plain[k] for k in _RESOURCES if k in plain}
    shown |= {k: v for k, v in plain.items() if k not in _ELSEWHERE and not k.endswith("sha256")}
    if isinstance(shown.get("wall_seconds"), int | float):
        shown["wall_seconds"] = duration(shown["wall_seconds"])
    if isinstance(shown.get("peak_memory_bytes"), int | float):
        shown["peak_memory_bytes"] = size(shown["peak_memory_bytes"])
    return shown
