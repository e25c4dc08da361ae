"""`voting`: what n samples of a question come to, by eval, state and n."""

from collections.abc import Iterator

from snaketune.plan.table_plan import EvalPlan, TablePlan
from snaketune.tables.sources import Sources
from snaketune.tables.write import Row
from snaketune.tasks.task import ALL, Metric

TASK = "math_samples"
METRICS = ["majority", "majority_expected", "best_of_n", "best_of_n_expected", "pass_at_n"]
_PARTS = ("value", "low", "high")

_HEAD = ["eval", "state", "run", "protocol", "n", "questions"]
COLUMNS = [
    *_HEAD,
    *(name + end for name in (*METRICS, "accuracy") for end in ("", "_low", "_high")),
]


def voting(plan: TablePlan, sources: Sources) -> list[Row]:
    """A row an eval, state and n, each base before its first run. `accuracy`, the mean of single
    samples, is the same for every n."""
    return [
        row
        for name, state, run, entry in sampled(plan)
        for row in _rows(name, state, run, entry, sources)
    ]


def sampled(plan: TablePlan) -> Iterator[tuple[str, str, str | None, EvalPlan]]:
    """Eval, state, run (None: a base) and protocol of all that was sampled, each once."""
    names = dict.fromkeys(name for run in plan.runs for name in run.evals)
    shown: set[tuple[str, str]] = set()
    runs = {run.state for run in plan.runs}
    for name in names:
        for run in plan.runs:
            entry = run.evals.get(name)
            if entry is None or entry.task != TASK:
                continue
            for state in (run.base_state, run.state):
                known = (state, entry.protocol_name) in shown
                if state is not None and not known:
                    shown.add((state, entry.protocol_name))
                    yield name, state, state if state in runs else None, entry


def _rows(
    name: str, state: str, run: str | None, entry: EvalPlan, sources: Sources
) -> Iterator[Row]:
    by_n: dict[str, dict[str, Metric]] = {}
    for row in sources.document(state, entry)["rows"]:
        by_n.setdefault(row["subset"], {})[row["metric"]] = row
    single = {"accuracy": by_n.pop(ALL)["accuracy"]}
    for subset, found in by_n.items():
        yield {
            "eval": name,
            "state": state,
            "run": run,
            "protocol": entry.protocol_name,
            "n": int(subset.removeprefix("n=")),
            "questions": found["majority"]["n"],
            **_numbers(found | single),
        }


def _numbers(found: dict[str, Metric]) -> Row:
    ends = dict(zip(_PARTS, ("", "_low", "_high"), strict=True))
    return {name + ends[part]: row[part] for name, row in found.items() for part in _PARTS}
