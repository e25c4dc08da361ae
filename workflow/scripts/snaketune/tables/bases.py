"""The base models' entries: one for each set of protocols that runs are compared under."""

from typing import TypedDict

from snaketune.tables.plan_types import EvalPlan, RunPlan, TablePlan


class BasePlan(TypedDict):
    """A base model under the protocols of the runs that it stands beside."""

    state: str
    model: str
    evals: dict[str, EvalPlan]


def bases(plan: TablePlan) -> list[BasePlan]:
    """Each once, in the order of the runs."""
    found: list[BasePlan] = []
    for run in plan["runs"]:
        if (base := base_of(run)) not in found:
            found.append(base)
    return found


def base_of(run: RunPlan) -> BasePlan:
    """What a run is compared with."""
    return BasePlan(state=run["base_state"], model=run["model"], evals=run["evals"])
