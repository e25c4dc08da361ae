"""How the runs were trained, and what it took."""

from typing import Any

from snaketune.report.sources import Json, Sources
from snaketune.report.text import duration, number, size
from snaketune.tables.summary import flat

Matrix = dict[str, Any]
"""`columns`: runs; `rows`: (name, [text a run], whether the runs differ)"""

_RESOURCES = ("wall_seconds", "tokens_per_second", "peak_memory_bytes", "device_name")
_SETTINGS = ("model", "method", "seed")
"""They stand among the settings already."""
_NAMES = {
    "wall_seconds": "time",
    "tokens_per_second": "tokens a second",
    "peak_memory_bytes": "peak memory",
    "device_name": "processor",
}


def settings(sources: Sources) -> Matrix:
    """Hyperparameters by run; what differs between runs comes first."""
    found = {
        run["run"]: {
            "model": run["model"],
            "training data": run["train_data"],
            "seed": run["seed"],
            **flat(run["preset"]),
        }
        for run in sources.runs
        if run["preset"]
    }
    matrix = _matrix(found)
    return matrix | {"rows": sorted(matrix["rows"], key=lambda row: not row[2])}


def resources(sources: Sources) -> Matrix:
    """Training time, speed, memory and device by run."""
    return _matrix({run: _measured(meta) for run, meta in sources.train_meta.items()})


def _matrix(found: dict[str, Json]) -> Matrix:
    keys = dict.fromkeys(key for row in found.values() for key in row)
    rows = [(key, [number(row.get(key)) for row in found.values()]) for key in keys]
    marked = [(_named(key), cells, len(set(cells)) > 1) for key, cells in rows]
    return {"columns": list(found), "rows": marked}


def _named(key: str) -> str:
    return _NAMES.get(key, key.replace("_", " "))


def _measured(meta: Json) -> Json:
    """What was measured, what it took first; digests and versions have their place elsewhere."""
    plain = {k: v for k, v in meta.items() if not isinstance(v, dict | list)}
    shown = {k: plain[k] for k in _RESOURCES if k in plain}
    shown |= {k: v for k, v in plain.items() if k not in _SETTINGS and not k.endswith("sha256")}
    if isinstance(shown.get("wall_seconds"), int | float):
        shown["wall_seconds"] = duration(shown["wall_seconds"])
    if isinstance(shown.get("peak_memory_bytes"), int | float):
        shown["peak_memory_bytes"] = size(shown["peak_memory_bytes"])
    return shown
