"""What the numbers rest on: the data, the protocols, the models and the machine."""

from typing import Any

from snaketune.data.record import OVERLAP
from snaketune.prompts.wording import JUDGE_INSTRUCTION, MATH_SYSTEM
from snaketune.report.sources import Json, ReportSources
from snaketune.report.style import excerpt, number, size
from snaketune.report.training import MEASURED
from snaketune.runtime.content import AS_MADE, flat
from snaketune.runtime.errors import visible
from snaketune.runtime.job import duration

_PAIRS = 10
"""Overlapping pairs shown of each comparison; the file has more."""
_COUNTED = ("exact", "rephrased", "near", "rows")


def dataset_entries(sources: ReportSources) -> list[Json]:
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


def overlap_across(sources: ReportSources) -> list[Json]:
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


def token_set_entries(sources: ReportSources) -> list[Json]:
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


_LONG = 80
"""Text of more characters gets a block of its own."""


def protocol_entries(sources: ReportSources) -> list[Json]:
    """Each protocol once: settings, prompt, and how each state's outputs were made."""
    found: dict[str, Json] = {}
    for (state, name), document in sources.metrics.items():
        entry = found.setdefault(name, _protocol(name, document))
        made = sources.prediction_meta.get((state, name), {})
        judged = sources.verdict_meta.get((state, name))
        entry["states"].append({"state": state, **_made(made)})
        if judged is not None:
            entry["judged"].append({"state": state, **_made(judged)})
    for name, entry in found.items():
        entry["unlike"] = _unlike(sources, name)
    return [found[name] for name in sorted(found)]


_LIKE = ("dtype", "device", "batch_sizes")


def _unlike(sources: ReportSources, name: str) -> list[str]:
    """Of the runs' states and their bases, what they were not given alike: in 16 bits the text of a
    model depends on the batch that it stands in."""
    found = []
    for run in sources.runs:
        metas = sources.prediction_meta
        pair = [metas.get((state, name), {}) for state in (run.base_state or "", run.state)]
        if not all(pair) or all(made.get("dtype") == "float32" for made in pair):
            continue
        for key in _LIKE:
            base, tuned = (made.get(key) for made in pair)
            if base != tuned:
                words = f"{_shown(tuned)}, {run.base_state} {_shown(base)}"
                found.append(f"{key.replace('_', ' ')}: {run.state} {words}")
    return found


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _protocol(name: str, document: Json) -> Json:
    protocol = document["protocol"]
    settings = flat(
        {key: value for key, value in protocol.items() if key not in ("system", "prompt")}
    )
    return {
        "name": name,
        "hash": document["protocol_hash"],
        "eval": document["eval"],
        "task": protocol["task"],
        "settings": [
            (key.replace("_", " "), number(v)) for key, v in settings.items() if v is not None
        ],
        "system": excerpt(_system(protocol)) if _system(protocol) else None,
        "prompt": excerpt(protocol["prompt"]) if protocol.get("prompt") else None,
        "judge": JUDGE_INSTRUCTION if protocol.get("judge") else None,
        "states": [],
        "judged": [],
    }


def _system(protocol: Json) -> str:
    """The system turn: the config's own, or else the task's."""
    asked = protocol.get("system")
    return asked if asked is not None else {"math": MATH_SYSTEM}.get(protocol["task"], "")


def _made(meta: Json) -> Json:
    """Short facts as pairs, long texts (such as an example prompt) as blocks."""
    # The protocol stands above already, versions and use below.
    elsewhere = ("protocol", "versions", AS_MADE, *MEASURED)
    plain = flat({k: v for k, v in meta.items() if k not in elsewhere})
    if isinstance(plain.get("seconds"), int | float):
        plain["seconds"] = duration(plain["seconds"])
    long = {k for k, v in plain.items() if isinstance(v, str) and (len(v) > _LONG or "\n" in v)}
    return {
        "facts": [(k.replace("_", " "), number(v)) for k, v in plain.items() if k not in long],
        "texts": [(k.replace("_", " "), excerpt(v, 4000)) for k, v in plain.items() if k in long],
    }


def model_facts(sources: ReportSources) -> list[Json]:
    """What each model is, as it was resolved, and each adapter that was trained elsewhere: one that
    says that it was trained on another model than the run's tells which."""
    found = sorted(sources.models.items())
    found += [(f"adapter of {run}", record) for run, record in sorted(sources.adapters.items())]
    plain = [
        (name, flat({k: v for k, v in about.items() if k != AS_MADE})) for name, about in found
    ]
    return [
        {"name": name, "facts": [(k.replace("_", " "), number(v)) for k, v in about.items()]}
        for name, about in plain
    ]


def machine_facts(sources: ReportSources) -> list[tuple[str, str]]:
    """The machine that the work ran on."""
    found = sources.environment
    facts = [(k, number(v)) for k, v in found.items() if isinstance(v, str | int | float)]
    facts = [(k, size(found[k]) if k.endswith("bytes") else v) for k, v in facts]
    gpus = [f"{visible(gpu['name'])} ({size(gpu['memory_bytes'])})" for gpu in found["gpus"]]
    named = [(k.removesuffix("_bytes").replace("_", " "), v) for k, v in facts]
    return [*named, ("GPUs", ", ".join(gpus) or "none")]


def library_facts(sources: ReportSources) -> list[tuple[str, str]]:
    """Library versions."""
    return sorted(sources.environment["libraries"].items())
