"""Rows that stand or fall together: those of one template, or of one problem.

Such rows are not independent (trap 33): two solutions of a problem, or instances of a template,
are one draw, not two. Where an eval has some, clusters are resampled instead of rows.
"""

import json
from collections.abc import Sequence
from typing import Any

from snaketune.data.example import Example
from snaketune.measures.intervals import clustered, wilson

FIELDS = ("original_id", "index")
"""What formats keep of a row's origin: its template, or its problem."""


def cluster_of(example: Example) -> str | None:
    """What the example shares with others; None where nothing of the kind is known."""
    meta = json.loads(example.meta)
    found = next((meta[name] for name in FIELDS if meta.get(name) is not None), None)
    return None if found is None else str(found)


def shared(scores: Sequence[dict[str, Any]]) -> list[str] | None:
    """The cluster of every row; None where no two rows share one."""
    names = [f"of {s['id']}" if s.get("cluster") is None else s["cluster"] for s in scores]
    return None if len(set(names)) == len(names) else names


def spread(values: Sequence[float], scores: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """The interval of the mean of `values`, which belong to `scores`, where rows share a cluster;
    else nothing. Where all rows are hits or none is, it is Wilson's over as many draws as there are
    clusters; without any spread between clusters it is missing."""
    if (names := shared(scores)) is None:
        return {}
    if set(values) in ({0}, {1}):
        count = len(set(names))
        low, high = wilson(count * int(values[0]), count)
    else:
        low, high = clustered(values, names) or (None, None)
    return {"low": low, "high": high}
