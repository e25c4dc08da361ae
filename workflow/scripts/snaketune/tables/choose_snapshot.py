"""Which snapshot is best on the dev split."""

from pathlib import Path
from typing import Any

from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_json


def choose_snapshot(files: list[Path], snapshots: list[str], choose: str) -> dict[str, Any]:
    """The best of `snapshots` by `choose` (`eval.metric`, overall); `files` are their metrics, in
    training order. Of equal scores the earliest wins: it trained least.

    Raises `UserError` when a metrics file lacks the metric or its value is missing.
    """
    eval_name, _, metric = choose.partition(".")
    scores = [_score(file, eval_name, metric) for file in files]
    index = scores.index(max(scores))
    return {
        "snapshot": snapshots[index],
        "index": index,
        "by": choose,
        "split": "dev",
        "scores": dict(zip(snapshots, scores, strict=True)),
    }


def _score(file: Path, eval_name: str, metric: str) -> float:
    rows = read_json(file)["rows"]
    known = {
        r["metric"]: r["value"] for r in rows if r["eval"] == eval_name and r["subset"] == "all"
    }
    if known.get(metric) is None:
        found = ", ".join(sorted(k for k, v in known.items() if v is not None))
        raise UserError(
            f"{file}: no value for {eval_name}.{metric}, which is to choose the snapshot; "
            f"found: {found or 'none'}"
        )
    return known[metric]
