"""What jobs asked for and what they used, so that the next experiment can ask for what it needs."""

from collections.abc import Mapping
from typing import TypedDict

from snaketune.plan.estimate import Estimate
from snaketune.report.sources import Json, Sources
from snaketune.report.text import duration, size

MEASURED = ("main_memory_bytes", "gpu_memory_bytes", "job_seconds")
"""What every job that loads a model records of itself."""


class Use(TypedDict):
    """A row: the jobs of a kind, each figure the largest of them."""

    name: str
    jobs: int
    cells: list[tuple[str, str]]
    """(asked for, used) of main memory and of time, (expected, used) of a GPU's memory."""
    over: bool
    """Whether more was used than asked for at first."""


def use(sources: Sources) -> list[Use]:
    """A row a training, and for all states of an eval one of the model's jobs and one of the judge
    or reward model."""
    asked = sources.asked
    rows = [
        _row(f"training of {sources.shown(run)}", {run: asked.training[run]}, {run: meta})
        for run, meta in sources.train_meta.items()
        if run in asked.training
    ]
    looked = sources.verdict_meta | sources.reward_meta
    for protocol in dict.fromkeys(p for _, p in [*asked.evaluation, *asked.helpers]):
        rows.append(_of_states(protocol, protocol, asked.evaluation, sources.prediction_meta))
        rows.append(_of_states(f"judging of {protocol}", protocol, asked.helpers, looked))
    return [row for row in rows if row["jobs"]]


def _of_states(name: str, protocol: str, asked: Mapping, metas: Mapping) -> Use:
    needs = {cell: needed for cell, needed in asked.items() if cell[1] == protocol}
    return _row(name, needs, {cell: metas[cell] for cell in needs if cell in metas})


def _row(name: str, asked: Mapping, used: Mapping[object, Json]) -> Use:
    """Jobs of before these figures were kept, and those that ran elsewhere, are left out."""
    jobs = {job: meta for job, meta in used.items() if MEASURED[0] in meta}
    figures = [
        (_most(asked, jobs, lambda e: e.memory), _peak(jobs, MEASURED[0])),
        (_most(asked, jobs, lambda e: e.gpu_memory), _peak(jobs, MEASURED[1])),
        (_most(asked, jobs, lambda e: e.minutes * 60), _peak(jobs, MEASURED[2])),
    ]
    shown = [size, size, duration]
    cells = [
        (write(wanted), "none" if took is None else write(took))
        for write, (wanted, took) in zip(shown, figures, strict=True)
    ]
    # A GPU comes whole: nothing asks for a part of its memory.
    over = any(took is not None and took > wanted for wanted, took in (figures[0], figures[2]))
    return Use(name=name, jobs=len(jobs), cells=cells, over=over)


def _most(asked: Mapping[object, Estimate], jobs: Mapping, figure) -> float:
    return max((figure(asked[job]) for job in jobs), default=0)


def _peak(jobs: Mapping[object, Json], key: str) -> float | None:
    return max((meta[key] for meta in jobs.values() if meta[key] is not None), default=None)
