"""What is known of a run on one eval, beside its difference from the base.

The same comparison with the answer's form set aside, and without the rows that resemble training
rows; what guessing gives; and what is in no figure. What follows from it: `verdict.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from snaketune.data.example import FEW_SHOT
from snaketune.plan.table_plan import (
    EvalPlan,
    RunPlan,
    TablePlan,
    joined_runs,
    learned_data,
    single_seeds,
)
from snaketune.statistics.paired import Comparison, Outcome, compare, compare_seeds, holm
from snaketune.tables.sources import Row, TableSources
from snaketune.tasks.task import ALL, Score, task_of

Compared = dict[str, Any]
"""What a `statistics.paired.Comparison` holds: differences lie between -1 and 1."""


class Evidence(TypedDict):
    """What is known of a run on one eval."""

    metric: str
    compared: Compared
    """The primary metric on the same rows."""
    content: Compared | None
    """The same with the answer's form set aside; None: the task has no such reading."""
    reading: str | None
    """How, in words: `read flexibly`."""
    clean: Compared | None
    """The same (in content, where there is such a reading) on the rows that resemble no training
    row; None: all do, or none, or it is not known."""
    overlap: Mapping[str, int] | None
    """Rows of the eval that are training rows (`equal`) or resemble one (`near`), and all
    (`rows`), with the pairs that are `unlisted`; None: nothing was trained here, or it is not
    known."""
    chance: float | None
    """What guessing gives: a share of the options, or that of the most frequent class."""
    guess: str | None
    """How, in words: `guessing`."""
    above: Mapping[str, Compared | None]
    """`base` and `tuned` against that guess on the same rows."""
    unparsed: Mapping[str, float | None]
    """Of `base` and `tuned` the share of replies that could not be read."""
    lost: Mapping[str, int]
    """`rejected` test records, and examples `untrained`: those that made no training row."""
    runs: int
    """That are compared on the eval: p is adjusted for as many."""


Place = tuple[str, str]
"""A run and an eval."""


def all_evidence(
    plan: TablePlan, sources: TableSources, compared: Iterable[Row]
) -> dict[Place, Evidence | None]:
    """By run and eval; None: there is no base. `compared` are the rows of `comparisons.csv`."""
    primary = {
        (row["run"], row["eval"]): row
        for row in compared
        if (row["metric"], row["subset"]) == (_metric(plan, row), ALL)
    }
    joined = joined_runs(plan)
    found: dict[Place, Evidence | None] = {
        (run, name): _evidence(members, name, primary[run, name], sources)
        if members[0].base_state is not None
        else None
        for run, members in ({run.run: [run] for run in plan.runs} | joined).items()
        for name in members[0].evals
    }
    # Seeds that are joined count once, by the row that joins them (see comparisons.py).
    single = single_seeds(plan)
    _adjust({place: one for place, one in found.items() if place[0] not in joined})
    _adjust({place: one for place, one in found.items() if place[0] not in single})
    return found


def _metric(plan: TablePlan, row: Row) -> str | None:
    """The eval's primary one."""
    names = (run for run in plan.runs if row["run"] in (run.run, run.seed_of))
    return next(run.evals[row["eval"]].primary for run in names)


def _evidence(runs: Sequence[RunPlan], name: str, compared: Row, sources: TableSources) -> Evidence:
    """Of one run, or of several that differ in their seed alone."""
    first = runs[0]
    spec, base_state = first.evals[name], str(first.base_state)
    base, *tuned = (sources.rows(s, spec) for s in (base_state, *(run.state for run in runs)))
    task, ids = task_of(spec.task), {score["id"] for score in tuned[0]}
    outcome = task.paired[spec.primary]
    reading, inner = task.content or (None, None)
    refused = not compared["n"]
    content = dict(compare_seeds(base, tuned, inner)) if inner and not refused else None
    if content and all(_alike(base, rows, outcome, inner) for rows in tuned):
        reading, content = None, None
    alike, unlisted = overlap_with_training(first, spec, sources) or (None, 0)
    near = {id_: kind for id_, kind in (alike or {}).items() if id_ in ids}
    of = inner if content and inner else outcome
    before, *after = ([s for s in rows if s["id"] not in near] for rows in (base, *tuned))
    guessed = task.guesses(tuned[0])
    above: dict[str, Compared | None] = {"base": None, "tuned": None}
    if guessed and not refused:
        above["base"] = _against(base, guessed[1], outcome)
        # Of several the one that stands lowest.
        seeds = [_against(rows, guessed[1], outcome) for rows in tuned]
        above["tuned"] = min(seeds, key=lambda found: found["difference"] or 0)
    unread = [_share(sources, run.state, spec, "unparsed") for run in runs]
    known = [share for share in unread if share is not None]
    return Evidence(
        metric=spec.primary,
        compared={key: compared[key] for key in Comparison.__annotations__},
        content=content,
        reading=reading,
        clean=dict(compare_seeds(before, after, of)) if near and before and not refused else None,
        overlap=_counted(near, unlisted) if alike is not None else None,
        chance=_mean(guessed[1]) if guessed else None,
        guess=guessed[0] if guessed else None,
        above=above,
        unparsed={
            "base": _share(sources, base_state, spec, "unparsed"),
            "tuned": sum(known) / len(known) if known else None,
        },
        lost=rows_lost(first, spec, sources),
        runs=1,
    )


def _alike(base: list[Score], tuned: list[Score], one: Outcome, other: Outcome | None) -> bool:
    """Whether both readings say the same of every row: then form plays no part."""
    return other is not None and all(one(s) == other(s) for s in (*base, *tuned))


def _counted(near: Mapping[str, str], unlisted: int) -> dict[str, int]:
    equal = sum(kind != "near" for kind in near.values())
    return {"equal": equal, "near": len(near) - equal, "rows": len(near), "unlisted": unlisted}


def _mean(values: list[bool | float]) -> float | None:
    return sum(values) / len(values) if values else None


def _against(scores: list[Score], guesses: list[bool | float], outcome: Outcome) -> Compared:
    """A state against the guess on the same rows."""
    heads = [{"id": s["id"], "cluster": s.get("cluster")} for s in scores]
    guess = [h | {"hit": hit} for h, hit in zip(heads, guesses, strict=True)]
    own = [h | {"hit": outcome(s)} for h, s in zip(heads, scores, strict=True)]
    return dict(compare(guess, own, lambda row: row["hit"]))


def _share(sources: TableSources, state: str, spec: EvalPlan, metric: str) -> float | None:
    rows = sources.document(state, spec)["rows"]
    values = [r["value"] for r in rows if (r["metric"], r["subset"]) == (metric, ALL)]
    return values[0] if values else None


def _adjust(found: Mapping[Place, Evidence | None]) -> None:
    """p of each kind of comparison for all runs of an eval, as `comparisons.csv` has that of the
    primary metric."""
    for name in dict.fromkeys(name for _, name in found):
        family = [one for (_, of), one in found.items() if one and of == name]
        tested = [one for one in family if one["compared"]["n"]]
        for one in tested:
            one["runs"] = len(tested)
        for members in ([one["content"] for one in tested], [one["clean"] for one in tested]):
            known = [member for member in members if member and member["n"]]
            for member, p in zip(known, holm([m["p"] for m in known]), strict=True):
                member["p_holm"] = p


def overlap_with_training(
    run: RunPlan, spec: EvalPlan, sources: TableSources
) -> tuple[dict[str, str], int] | None:
    """How a row of the eval's data overlaps with the run's training rows, by id: `exact`,
    `rephrased` or `near`; and how many pairs, less alike than these, are counted but not listed.
    None: nothing was trained here, or nobody looked."""
    protocol = sources.document(run.state, spec)["protocol"]
    data, split = protocol.get("dataset"), protocol.get("split")
    parts = [_overlap_with(part, data, split, sources) for part in learned_data(run)]
    if not parts or None in parts:
        return None
    known = [part for part in parts if part is not None]
    pairs = [pair for part in known for pair in part["pairs"]]
    # Of a row that resembles several the worst counts.
    worst_last = sorted(pairs, key=lambda pair: -_KINDS.index(pair["kind"]))
    counted = sum(part[kind] for part in known for kind in _KINDS)
    return {pair["left"]: pair["kind"] for pair in worst_last}, counted - len(pairs)


_KINDS = ("exact", "rephrased", "near")
"""The worst first."""


def _overlap_with(
    learned: str, data: str | None, split: str | None, sources: TableSources
) -> dict[str, Any] | None:
    """What was found of an eval's data in that of a training, which is itself or another one."""
    if learned == data:
        manifest = sources.manifests.get(learned, {})
        return manifest.get("leakage", {}).get("comparisons", {}).get(f"{split} in train")
    leakage = sources.leakage.get((learned, data or ""), {})
    return leakage.get("comparisons", {}).get(f"{split} in {learned}")


def rows_lost(run: RunPlan, spec: EvalPlan, sources: TableSources) -> dict[str, int]:
    """Test records that were rejected, and training examples that made no row; few-shot examples
    leave training by the config's own word."""
    protocol = sources.document(run.state, spec)["protocol"]
    splits = sources.manifests.get(protocol.get("dataset"), {}).get("splits", {})
    rejected = splits.get(protocol.get("split"), {}).get("rejected", {})
    stats = sources.stats.get(run.run, {}).get("splits", {}).get("train", {})
    dropped = {why: n for why, n in stats.get("dropped", {}).items() if why != FEW_SHOT}
    return {"rejected": sum(rejected.values()), "untrained": sum(dropped.values())}
