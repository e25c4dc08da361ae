"""The manifest: what came in, what went out, what was rejected and why."""

from collections import Counter
from collections.abc import Sequence

from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data.check import Rejected
from snaketune.data.example import Example
from snaketune.data.few_shot import Shot
from snaketune.data.leakage import METHOD, Overlap


def counts(examples: Sequence[Example], rejected: Sequence[Rejected]) -> dict:
    """`{in, out, rejected: {reason: n}}` of one split; in = out + rejected.

    Records that were held out for dev count there, not under train.
    """
    reasons = Counter(r.fault.reason for r in rejected)
    return {
        "in": len(examples) + len(rejected),
        "out": len(examples),
        "rejected": dict(sorted(reasons.items())),
    }


def manifest(
    name: str,
    spec: DatasetSpec,
    splits: dict[SplitName, dict],
    sources: list[dict],
    unused: list[str],
    shots: list[Shot],
    shots_file: dict | None,
    overlaps: dict[str, Overlap],
    repeated_options: list[dict],
    catalogue: dict | None,
) -> dict:
    """The manifest as it is written: plain values, nothing of this machine or of today."""
    _require_nothing_lost(splits, sources)
    return {
        "dataset": name,
        "format": spec.format,
        "licence": spec.licence,
        "splits": splits,
        "sources": sources,
        "unused": unused,
        "catalogue": catalogue,
        "dev": {"held_out": spec.dev, "seed": spec.seed},
        "draw": spec.draw.model_dump(mode="json") if spec.draw else None,
        "limit": spec.limit,
        "repeated_options": repeated_options,
        "few_shot": {
            "asked": spec.few_shot.count,
            "seed": spec.few_shot.seed,
            "file": shots_file,
            "ids": [shot.id for shot in shots],
            "indices": [shot.index for shot in shots],
        },
        "leakage": {
            "method": METHOD,
            "overlap": spec.overlap,
            "comparisons": {key: overlap.report() for key, overlap in overlaps.items()},
        },
    }


def _require_nothing_lost(splits: dict[SplitName, dict], sources: list[dict]) -> None:
    for split, n in splits.items():
        if n["in"] != n["out"] + sum(n["rejected"].values()):
            raise RuntimeError(f"{split}: {n}: in is not out + rejected")
    read, counted = sum(s["records"] for s in sources), sum(n["in"] for n in splits.values())
    if read != counted:
        raise RuntimeError(f"{read} records read, {counted} counted in the splits")
