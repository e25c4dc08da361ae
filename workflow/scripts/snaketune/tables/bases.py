"""The base models' entries: one for each set of protocols that runs are compared under."""

from dataclasses import dataclass

from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan


@dataclass(frozen=True)
class BasePlan:
    """A base model under the protocols of the runs that it stands beside."""

    state: str
    model: str
    evals: dict[str, EvalPlan]


def bases(plan: TablePlan) -> list[BasePlan]:
    """Each once, in the order of the runs."""
    found: list[BasePlan] = []
    for run in plan.runs:
        base = base_of(run)
        if base is not None and base not in found:
            found.append(base)
    return found


def base_of(run: RunPlan) -> BasePlan | None:
    """What a run is compared with; None: nothing."""
    if run.base_state is None:
        return None
    return BasePlan(state=run.base_state, model=run.model, evals=run.evals)
