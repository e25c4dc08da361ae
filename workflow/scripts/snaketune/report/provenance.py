"""Where the data came from, and that none of it was lost."""

from typing import Any

from snaketune.data.record import OVERLAP
from snaketune.report.sources import Json, Sources
from snaketune.report.text import excerpt, number, visible

_PAIRS = 10
"""Overlapping pairs shown of each comparison; the file has more."""
_COUNTED = ("exact", "rephrased", "near", "rows")


def datasets(sources: Sources) -> list[Json]:
    """One a manifest."""
    return [_dataset(manifest) for manifest in sources.manifests]


def _dataset(manifest: Json) -> Json:
    few_shot = manifest["few_shot"]
    return {
        "name": manifest["dataset"],
        "licence": visible(manifest["licence"] or "not stated"),
        "format": manifest["format"],
        "splits": [_split(name, counts) for name, counts in manifest["splits"].items()],
        "sources": [_source(source) for source in manifest["sources"]],
        "few_shot": len(few_shot["ids"]),
        "overlap": manifest["leakage"]["overlap"],
        "method": manifest["leakage"]["method"],
        **_leakage(manifest["leakage"]["comparisons"]),
        "repeats": [_repeats(manifest, kept) for kept in (True, False)],
        "dropped": manifest["splits"]["test"]["rejected"].get(OVERLAP, 0),
        "file": f"data/{manifest['dataset']}/manifest.json",
        "rejected": f"data/{manifest['dataset']}/rejected.jsonl",
    }


def across(sources: Sources) -> list[Json]:
    """Overlap of every evaluated dataset with another one that a run trains on."""
    return [
        {
            "name": f"{found['test']} and {found['train']}",
            "file": f"data/leakage/{found['train']}-{found['test']}.json",
            "method": found["method"],
            **_leakage(found["comparisons"]),
        }
        for found in sources.leakage
    ]


def _repeats(manifest: Json, kept: bool) -> Json:
    """The records in which an option stands twice: those that were kept, or those that weren't."""
    found = [row for row in manifest.get("repeated_options", []) if row["kept"] == kept]
    return {"kept": kept, "rows": [_repeated(row) for row in found]}


def _repeated(row: Json) -> str:
    place = f"{row['split']}: {row['source']}, record {row['record']}"
    return visible(f"{place} ({row['id']})" if row["kept"] else place)


def _leakage(comparisons: Json) -> Json:
    """Counts and pairs of overlaps, as the page has them."""
    return {
        "leakage": [
            {"what": visible(what), "counts": [number(found[key]) for key in _COUNTED]}
            for what, found in comparisons.items()
        ],
        "pairs": [
            {"what": visible(what), **_pair(pair)}
            for what, found in comparisons.items()
            for pair in found["pairs"][:_PAIRS]
        ],
    }


def _pair(pair: Json) -> Json:
    return {"left": visible(pair["left"]), "right": visible(pair["right"])} | {
        "kind": pair["kind"],
        "score": number(pair["score"]),
    }


def _split(name: str, counts: Json) -> Json:
    return {
        "name": name,
        "in": number(counts["in"]),
        "out": number(counts["out"]),
        "rejected": number(sum(counts["rejected"].values())),
        "reasons": _reasons(counts["rejected"]),
    }


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{visible(reason)}: {n:,}" for reason, n in counts.items())


def _source(source: Json) -> list[tuple[str, str]]:
    return [(k, number(v)) for k, v in source.items() if not isinstance(v, dict | list)]


def token_sets(sources: Sources) -> list[Json]:
    """Training rows: counts, lengths, and an example with the part that the loss sees."""
    return [
        {
            "name": name,
            "max_length": number(stats["max_length"]),
            "overlong": stats["overlong"],
            "template": stats["template_hash"],
            "splits": [_tokens(split, found) for split, found in stats["splits"].items()],
            "example": _example(stats["example"]),
        }
        for name, stats in sources.stats.items()
    ]


def _tokens(split: str, found: Json) -> Json:
    lengths: dict[str, Any] = found["lengths"]
    return {
        "name": split,
        **{key: number(found[key]) for key in ("in", "out", "truncated", "trained_tokens")},
        "dropped": ", ".join(f"{visible(why)}: {n:,}" for why, n in found["dropped"].items())
        or "0",
        **{key: number(lengths.get(key)) for key in ("p50", "p95", "max")},
    }


def _example(example: Json) -> Json:
    return {
        "id": visible(example["id"]),
        "text": excerpt(example["text"], 3000),
        "trained": excerpt(example["trained"], 3000),
    }
