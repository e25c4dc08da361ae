"""Repositories that runs are pushed to: one each."""

from collections.abc import Iterator

from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault
from snaketune.config.run import RunSpec

RUN = "{run}"


def push_faults(experiment: Experiment) -> Iterator[Fault]:
    """Runs, of one sweep or not, that would overwrite one another's repository."""
    taken: dict[str, str] = {}
    for name, run in experiment.runs.items():
        if run.push is None:
            continue
        path, repo = ("runs", name, "push"), run.push.repo.replace(RUN, name)
        if RUN not in run.push.repo and any(len(values) > 1 for values in run.sweep.values()):
            found = f"found {repo} for all runs of the sweep"
            yield Fault(path, f"{found}, expected {RUN} in the name, such as {repo}-{RUN}")
        if repo in taken:
            found = f"found {repo}, which runs.{taken[repo]} is pushed to as well"
            yield Fault(path, f"{found}; expected a repository each, or {RUN} in the name")
        taken.setdefault(repo, name)


def with_repositories(experiment: Experiment) -> Experiment:
    """The experiment with every run's own name in its repository's."""
    runs = {name: _named(name, run) for name, run in experiment.runs.items()}
    return experiment.model_copy(update={"runs": runs})


def _named(name: str, run: RunSpec) -> RunSpec:
    if run.push is None:
        return run
    push = run.push.model_copy(update={"repo": run.push.repo.replace(RUN, name)})
    return run.model_copy(update={"push": push})
