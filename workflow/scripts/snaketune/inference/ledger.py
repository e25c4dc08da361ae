"""How records were made, for the file beside them: those of several jobs, or some of one job's."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

Made = dict[str, Any]

_USAGE = ("main_memory_bytes", "gpu_memory_bytes", "job_seconds")


def counts(records: Collection[dict]) -> Made:
    """What is counted of the records themselves."""
    finishes = Counter(record["finish"] for record in records if "finish" in record)
    return {
        "finishes": dict(sorted(finishes.items())),
        "new_tokens": sum(record.get("new_tokens", 0) for record in records),
    }


def of_some(made: Made, share: float) -> Made:
    """How a `share` of a job's records were made: in that share of its time."""
    return made | ({"seconds": round(made["seconds"] * share, 3)} if "seconds" in made else {})


def of_found(metas: Sequence[Made], records: Collection[dict]) -> Made:
    """How `records` were made that jobs with these metas left, in the terms of the first."""
    first = metas[0] if len(metas) == 1 else joined(metas)
    return first | {name: count for name, count in counts(records).items() if name in first}


def joined(metas: Sequence[Made]) -> Made:
    """The first part's, with counts and times added up and the sizes of all."""
    finishes: Counter[str] = Counter()
    for part in metas:
        finishes.update(part["finishes"])
    seconds = sum(m["seconds"] for m in metas)
    # Of the parts' rates: one that was killed made some of its tokens in seconds not counted here.
    timed = sum(m["seconds"] * m["tokens_per_second"] for m in metas)
    return metas[0] | {
        "finishes": dict(sorted(finishes.items())),
        "batch_sizes": sorted({size for m in metas for size in m["batch_sizes"]}),
        "largest_batch": max(m["largest_batch"] for m in metas),
        "seconds": round(seconds, 3),
        "new_tokens": sum(m["new_tokens"] for m in metas),
        "tokens_per_second": round(timed / max(seconds, 1e-9), 1),
        **{name: _most(metas, name) for name in _USAGE},
        "resumed_records": sum(m["resumed_records"] for m in metas),
    }


def _most(metas: Sequence[Made], name: str) -> float | None:
    return max((m[name] for m in metas if m.get(name) is not None), default=None)
