"""How much worse states are on one eval than on another."""

from typing import Any

from snaketune.report.figures.all import label
from snaketune.report.sources import Sources
from snaketune.report.text import optional, percent, points, points_interval


def drops(sources: Sources) -> list[dict[str, Any]]:
    """The rows of `drops.csv` for readers."""
    return [
        {
            "state": label(sources.shown(row["state"]), row["to_protocol"], row["to_eval"]),
            "is_base": not row["run"],
            "metric": row["metric"].replace("_", " "),
            "start": f"{row['from_eval']}, n {int(row['from_n']):,}",
            "end": f"{row['to_eval']}, n {int(row['to_n']):,}",
            "values": [percent(optional(row[f"{end}_value"])) for end in ("from", "to")],
            "change": _negated(row),
            "interval": _interval(row),
        }
        for row in sources.drops
    ]


def _negated(row: dict[str, str]) -> str:
    """A drop of 5 points is a change of −5."""
    drop = optional(row["drop"])
    return points(None if drop is None else -drop)


def _interval(row: dict[str, str]) -> str:
    low, high = optional(row["low"]), optional(row["high"])
    return "" if low is None or high is None else points_interval(-high, -low)
