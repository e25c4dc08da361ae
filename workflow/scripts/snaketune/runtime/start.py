"""Checks run first, and hold back all else without standing in front of it.

An edge from a check to what it protects would make the latter run again with every check; an
`ancient` edge hides reasons of its own (see docs/architecture.md). So there is no edge. The
scheduler is asked to choose among the checks, and what they need, until all that are due have
passed. A dry run knows nothing of it and shows the whole plan.

Snakemake has no public name for this: `restrict` wraps the two functions with which its scheduler
selects jobs. Where another version calls them otherwise, jobs are only less well ordered: every
result stays right, and the start says so.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

_SELECTORS = ("_job_selector", "job_selector_greedy")


def restrict(workflow: Any, checks: Collection[str], failure: type[Exception]) -> bool:
    """Lets the scheduler of Snakemake's `workflow` select nothing but the rules named `checks`,
    and jobs that these depend on, until all of them that have to run are done.

    Under --keep-going a `failure` is raised once a check has failed and nothing else may start.
    False where this version of Snakemake selects jobs in another way.
    """
    scheduler = workflow.scheduler
    if not all(callable(getattr(scheduler, name, None)) for name in _SELECTORS):
        return False
    gate = _Gate(workflow.dag, scheduler, frozenset(checks), failure)
    for name in _SELECTORS:
        setattr(scheduler, name, gate.before(getattr(scheduler, name)))
    return True


_BEFORE = ("data", "models", "environment.json", "config.yaml")


def behind_checks(target: str, folder: str) -> bool:
    """Whether a target is a file of the experiment in `folder` that checks come before."""
    path, root = Path(target).absolute(), Path(folder).absolute()
    within = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return bool(within) and within[0] not in _BEFORE


class _Gate:
    """Closed while a check is due."""

    def __init__(
        self, dag: Any, scheduler: Any, checks: frozenset[str], failure: type[Exception]
    ) -> None:
        self.dag, self.scheduler, self.checks, self.failure = dag, scheduler, checks, failure
        self.open = False

    def before(self, select: Callable[..., Any]) -> Callable[..., Any]:
        """`select`, from those jobs that may start now."""

        def selected(jobs: Iterable[Any], *others: Any) -> Any:
            allowed = self._allowed(jobs)
            return select(allowed, *others) if allowed else []

        return selected

    def _allowed(self, jobs: Iterable[Any]) -> Sequence[Any]:
        due = [] if self.open else self._due()
        if not due:
            # For good: what is planned anew after a choice of snapshots comes long after.
            self.open = True
            return list(jobs)
        first = {*due, *self.dag.bfs(self.dag.dependencies, *due)}
        allowed = [job for job in jobs if not first.isdisjoint(_members(job))]
        failed = sorted({job.rule.name for job in first if job in self.scheduler.failed})
        if failed and not allowed and not self.scheduler.running:
            raise self.failure(
                f"a check failed ({', '.join(failed)}; see above), and nothing that it protects "
                "was started. Mend what it says and start the same command again."
            )
        return allowed

    def _due(self) -> list[Any]:
        return [
            job
            for job in self.dag.needrun_jobs()
            if job.rule.name in self.checks and not self.dag.finished(job)
        ]


def _members(job: Any) -> list[Any]:
    """The jobs of a group, or the job itself."""
    return list(job) if job.is_group() else [job]
