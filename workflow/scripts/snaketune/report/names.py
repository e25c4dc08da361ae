"""The report's figures by name, known from the plan alone. Light: the Snakefile lists them."""

from typing import TypedDict

from snaketune.plan.table_plan import CLASSIFICATION, TablePlan


class FigureName(TypedDict):
    """What the Snakefile needs for `report(...)`."""

    name: str
    """The file is `figures/{name}.svg`."""
    kind: str
    """The caption is `workflow/report/{kind}.rst`."""
    category: str
    labels: dict[str, str]


def figure_names(plan: TablePlan) -> list[FigureName]:
    """Every figure that the report of this plan draws, in its order."""
    evals = {name: spec.task for run in plan.runs for name, spec in run.evals.items()}
    names = [_figure(f"eval-{name}", "eval", "Results", name) for name in evals]
    names += [
        _figure(f"hazards-{name}", "hazards", "Results", f"{name} by hazard")
        for name, task in evals.items()
        if task == "safety"
    ]
    for name in (name for name, task in evals.items() if task == CLASSIFICATION):
        names.append(_figure(f"confusion-{name}", "confusion", "Results", f"{name} confusion"))
        names.append(_figure(f"reliability-{name}", "reliability", "Results", f"{name} confidence"))
    for name in failure_names(plan):
        names.append(_figure(f"votes-{name}", "votes", "Results", f"{name} by samples"))
        names.append(_figure(f"unique-{name}", "unique", "Results", f"{name}: unique answers"))
    by_epoch = dict.fromkeys(
        name for run in plan.runs for snap in run.followed for name in snap.evals
    )
    names += [
        _figure(f"epochs-{name}", "epochs", "Results", f"{name} by epoch") for name in by_epoch
    ]
    if by_epoch:
        names.append(_figure("training_time", "training_time", "Training", "training time"))
        names.append(_figure("evaluation_time", "evaluation_time", "Results", "evaluation time"))
    swept = dict.fromkeys(e for run in plan.runs if run.swept for e in run.evals)
    names += [_figure(f"sweep-{name}", "sweep", "Results", f"{name} by sweep") for name in swept]
    if any(run.snapshots for run in plan.runs):
        names.append(_figure("snapshots", "snapshots", "Results", "snapshots"))
    if any(run.train_data for run in plan.runs):
        names.append(_figure("loss", "loss", "Training", "loss"))
        names.append(_figure("lengths", "lengths", "Training", "row lengths"))
    return names


def failure_names(plan: TablePlan) -> list[str]:
    """The evals whose missed questions have pages: `failures/{eval}.html` and `.txt`."""
    sampled = (
        name for run in plan.runs for name, spec in run.evals.items() if spec.task == "math_samples"
    )
    return list(dict.fromkeys(sampled))


def _figure(name: str, kind: str, category: str, label: str) -> FigureName:
    return FigureName(name=name, kind=kind, category=category, labels={"figure": label})
