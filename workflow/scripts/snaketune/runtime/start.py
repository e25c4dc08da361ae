"""What happens at a start of the workflow, before its first job: notes on what is stale or gone and
on what so many rows can show, and the checks that run before all else.

Checks hold back all else without standing in front of it. An edge from a check to what it protects
would make the latter run again with every check; an `ancient` edge hides reasons of its own (see
docs/architecture.md). So there is no edge. The scheduler is asked to choose among the checks, and
what they need, until all that are due have passed. A dry run knows nothing of it and shows the
whole plan.

Snakemake has no public name for this: `restrict` wraps the two functions with which its scheduler
selects jobs. Where another version calls them otherwise, jobs are only less well ordered: every
result stays right, and the start says so.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from snaketune.config.experiment import Experiment
from snaketune.config.model import NO_LLAMA_CPP
from snaketune.plan.experiment_plan import Plan
from snaketune.plan.forecast import rows_asked
from snaketune.plan.table_plan import OPEN_QA, PLAIN
from snaketune.runtime.alive import begin_dry_run, begin_start, works_beside
from snaketune.runtime.content import MADE_BY
from snaketune.runtime.errors import UserError
from snaketune.steps import versions

_NAMED = 6
"""Steps that a note names; of more it says that there are others."""


def code_notes(experiment: Experiment) -> Iterator[str]:
    """Steps whose code is not the one that their version stands for."""
    if experiment.code == "strict" or not (changed := sorted(versions.changed_steps())):
        return
    names = ", ".join(changed[:_NAMED]) + (" and others" if len(changed) > _NAMED else "")
    yield (
        f"the code of {names} was changed since its version was set; results stay as they are. "
        "`--config code=strict` makes again what other code made; `make steps` sets versions"
    )


def kept_notes(experiment: Experiment, folder: Path) -> Iterator[str]:
    """Finished trainings whose preset came to `keep` weights after them."""
    for name, run in experiment.runs.items():
        preset = experiment.presets.get(run.preset or "")
        done = (folder / "train" / name / "train_meta.json").is_file()
        if preset and preset.keep and done and not (folder / "train" / name / "kept").is_dir():
            yield (
                f"run {name} was trained before presets.{run.preset}.keep was {preset.keep}: its "
                f"further weights are gone, only a new training keeps them (--forcerun with "
                f"{folder}/train/{name}/train_meta.json)"
            )


def trackers_of(experiment: Experiment, jobs: Iterable[Any]) -> list[str]:
    """What the trainings among Snakemake's `jobs` report to."""
    trained = [job.wildcards.run for job in jobs if job.rule.name.startswith("train_")]
    names = [name for run in trained for name in experiment.runs[run].report_to]
    return list(dict.fromkeys(names))


def require_answerers(plan: Plan, folder: Path, jobs: Iterable[Any]) -> None:
    """Raises `UserError` where replies are due that llama.cpp makes and its package is missing.
    What measures them is asked too: behind a choice of snapshots no job that makes them is known
    yet."""
    exported = set(plan.exported_states)
    for job in jobs:
        cell = [getattr(job.wildcards, key, "") for key in ("state", "protocol")]
        made = Path(folder, "predictions", *cell[:1], f"{cell[1]}.jsonl").is_file()
        due = (job.rule.name == "measure" and not made) or job.rule.name.endswith("_gguf")
        if cell[0] in exported and due and find_spec("llama_cpp") is None:
            raise UserError(NO_LLAMA_CPP)


_DIFFER = 0.1
"""Of the rows, as an example: how many base and tuned model differ on is not known before."""


def power_notes(plan: Plan, folder: Path) -> Iterator[str]:
    """For each eval by which a run is compared with a base the smallest difference that its rows
    show, as far as their number is known: by the eval's sample, or once the data is prepared."""
    from snaketune.statistics.intervals import detectable

    compared = {
        entry.protocol_name: plan.protocols[entry.protocol_name]
        for run in plan.table
        if run.base_state is not None
        for entry in run.evals.values()
        if entry.task != OPEN_QA and entry.primary not in PLAIN  # which are means
    }
    for name, spec in compared.items():
        rows = rows_asked(spec, folder)
        if rows and (least := detectable(rows, _DIFFER)):
            # A difference can't be larger than the rows that differ.
            share = f"{100 * _DIFFER:.0f} %" if least < _DIFFER else "no more"
            yield (
                f"eval {name}: {rows:,} rows show a difference of {100 * least:.1f} points with "
                f"80 % power, where base and tuned model differ on {share} of them"
            )


_JOINS = "join_shards"


def made_by_other_code(
    records: Iterable[str], parts: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """Of the artefacts with records those that other code made than there is now. In the place of a
    joined one its `parts`, unless only what joins them changed: were the joined file alone made
    again, its parts would be read from what their jobs kept."""
    there = [file for file in records if Path(file).is_file()]
    makers = [
        (Path(target), maker)
        for file in there
        for maker in _makers(Path(file))
        for target in (not _joins(maker) and (parts or {}).get(file)) or [file]
    ]
    return [str(file) for file in dict.fromkeys(versions.outdated(makers))]


def _joins(maker: Mapping[str, Any] | None) -> bool:
    return maker is not None and maker.get("step") == _JOINS


def _makers(file: Path) -> list[dict[str, Any] | None]:
    return json.loads(file.read_text(encoding="utf-8")).get(MADE_BY) or [None]


# With which Snakemake's scheduler selects jobs: by its solver, or greedily.
_SELECTORS = ("_job_selector", "job_selector_greedy")


def restrict(workflow: Any, checks: Sequence[Collection[str]], failure: type[Exception]) -> bool:
    """Lets the scheduler of Snakemake's `workflow` select nothing but the rules named in `checks`,
    and jobs that these depend on, until all of them that have to run are done; one group of them
    after the other.

    Under --keep-going a `failure` is raised once a check has failed and nothing else may start.
    False where this version of Snakemake selects jobs in another way.
    """
    scheduler = workflow.scheduler
    if not all(callable(getattr(scheduler, name, None)) for name in _SELECTORS):
        return False
    gate = _Gate(workflow.dag, scheduler, checks, failure)
    for name in _SELECTORS:
        setattr(scheduler, name, gate.before(getattr(scheduler, name)))
    return True


_BEFORE = ("data", "models", "prompts", "environment.json", "config.yaml")


LOOKS = frozenset({"check", "preview", "talk"})
"""Rules that show what is there and make nothing. They run beside a start, too."""


def only_looks(jobs: Iterable[Any]) -> bool:
    """Whether Snakemake's `jobs` look, and make nothing."""
    names = {job.rule.name for job in jobs}
    return bool(names) and names <= LOOKS


def ask_before_planning(
    workflow: Any,
    folder: str,
    records: Collection[str],
    parts: Mapping[str, Sequence[str]] | None = None,
    judged: bool = False,
    refusals: Mapping[str, Callable[[], None]] | None = None,
) -> None:
    """Asks for more than the command line does, once Snakemake knows what that asks for: for the
    checks, where a single file of the experiment in `folder` is a target; where it is to be
    `judged`, for the gate beside all; and for all artefacts with `records` that other code made, or
    their `parts`. Then says what of other starts was found here. `refusals` are called for the
    targets of their names, and raise where these can't be. The targets are not known while the
    Snakefile is read."""
    prepare = workflow._prepare_dag

    def prepared(*arguments: Any, **options: Any) -> Any:
        _without_profile_cores(workflow)
        asked = workflow.dag_settings
        if any(behind_checks(target, folder) for target in asked.targets):
            asked.targets = {*asked.targets, "ready"}
        if judged and {"all"} >= set(asked.targets or [workflow.default_target]):
            asked.targets = {"all", "gate"}
        if records:  # without any the code need not be looked at
            asked.forcerun = {*asked.forcerun, *made_by_other_code(records, parts)}
        for target in asked.targets:
            (refusals or {}).get(target, list)()
        dry = workflow.dryrun
        looking = bool(asked.targets) and set(asked.targets) <= LOOKS
        # A look beside a start takes what is there (rules/look.smk) and makes nothing.
        options["nolock"] = options.get("nolock") or dry or (looking and works_beside())
        found = begin_dry_run() if dry else [] if looking else begin_start()
        for note in found:
            print(f"note: {note}", file=sys.stderr)
        made = prepare(*arguments, **options)
        if looking and not options["nolock"]:
            _lock_what_is_made(workflow)
        return made

    workflow._prepare_dag = prepared


def _lock_what_is_made(workflow: Any) -> None:
    """Has the locks taken only where a look first makes what it shows. They would stand in the way
    of a start, and their end would take away its own."""
    lock = workflow.persistence.lock

    @contextmanager
    def locked() -> Iterator[None]:
        if only_looks(workflow.dag.needrun_jobs()):
            yield
            return
        for note in begin_start():
            print(f"note: {note}", file=sys.stderr)
        with lock():
            yield

    workflow.persistence.lock = locked


def _without_profile_cores(workflow: Any) -> None:
    """What `--jobs N` means without the profile's `cores: all`: for jobs that are submitted, no
    limit to their threads, least of all this machine's cores; else as many cores."""
    jobs, limits = workflow.resource_settings.nodes, workflow.global_resources
    if jobs is None:
        return
    if getattr(workflow, "local_exec", False):
        limits["_cores"], limits["_nodes"] = jobs, None
    else:
        limits["_cores"] = None


def behind_checks(target: str, folder: str) -> bool:
    """Whether a target is a file of the experiment in `folder` that checks come before."""
    path, root = Path(target).absolute(), Path(folder).absolute()
    within = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return bool(within) and within[0] not in _BEFORE


class _Gate:
    """Closed while a check is due."""

    def __init__(
        self,
        dag: Any,
        scheduler: Any,
        checks: Sequence[Collection[str]],
        failure: type[Exception],
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
        """The checks that have to run of the first group that has such."""
        left = [job for job in self.dag.needrun_jobs() if not self.dag.finished(job)]
        due = ([job for job in left if job.rule.name in group] for group in self.checks)
        return next((found for found in due if found), [])


def _members(job: Any) -> list[Any]:
    """The jobs of a group, or the job itself."""
    return list(job) if job.is_group() else [job]
