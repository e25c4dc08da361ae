"""`checkpoint_scores`: what each snapshot of a run scored, and which one was chosen."""

from snaketune.plan.table_plan import EvalPlan, RunPlan, SnapshotPlan, TablePlan
from snaketune.tables.sources import NUMBER, Sources, number_of
from snaketune.tables.write import Row

_HEAD = ["run", "snapshot", "step", "eval", "metric", "protocol"]
COLUMNS = [*_HEAD, *NUMBER, "chosen"]


def checkpoint_scores(plan: TablePlan, sources: Sources) -> list[Row]:
    """One row a snapshot and eval, in training order: 2of12 before 10of12."""
    return [
        row
        for run in plan.runs
        for snapshot in sorted(run.snapshots, key=place)
        for row in _scores(run, snapshot, sources)
    ]


def chosen_snapshot(run: RunPlan, sources: Sources) -> str | None:
    """The snapshot that stands for the run; None where it is simply the final adapter."""
    chosen = sources.chosen.get(run.run)
    return chosen["snapshot"] if chosen else None


def place(snapshot: SnapshotPlan) -> int:
    """2 of `2of12`: as text, 10of12 would come before it."""
    return int(snapshot.snapshot.partition("of")[0])


def step_of(snapshot: str, steps: int) -> int:
    """The step after which training saves the k-th of n snapshots: k/n of all, rounded up."""
    k, _, n = snapshot.partition("of")
    return -(-int(k) * steps // int(n))


def _scores(run: RunPlan, snapshot: SnapshotPlan, sources: Sources) -> list[Row]:
    name = snapshot.snapshot
    return [
        {
            "run": run.run,
            "snapshot": name,
            "step": step_of(name, sources.train_meta[run.run]["steps"]),
            "eval": eval_name,
            "metric": metric,
            "protocol": plan.protocol_name,
            **number_of(sources.metric(snapshot.state, plan, metric)),
            "chosen": name == chosen_snapshot(run, sources),
        }
        for eval_name, plan in snapshot.evals.items()
        for metric in _metrics(run.choose, eval_name, plan)
    ]


def _metrics(choose: str | None, eval_name: str, plan: EvalPlan) -> list[str]:
    """The primary metric, and the one that the snapshot was chosen by where it is another."""
    by_eval, _, by_metric = (choose or "").partition(".")
    return list(dict.fromkeys([plan.primary, *([by_metric] if by_eval == eval_name else [])]))
