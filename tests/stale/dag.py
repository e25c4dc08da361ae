"""Which job of the small experiment reads what another one makes, written down by hand.

Tests hold what Snakemake plans and runs against this, so nothing here is taken from the workflow.
A line is `JOB < JOBS that it reads`; a job is named `rule:wildcards`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from stale.experiment import Config

Edges = Mapping[str, frozenset[str]]

_DATASET = """
prepare:{d}/train
prepare:{d}/dev
prepare:{d}/test
few_shot:{d} < prepare:{d}/train
manifest:{d} < prepare:{d}/train prepare:{d}/dev prepare:{d}/test few_shot:{d}
"""
_MODEL = """
pin_model:{m}
model:{m} < pin_model:{m}
"""
_REST = """
environment
prepare_held_out:problems
prepare:problems/test
few_shot:problems < prepare_held_out:problems
manifest:problems < prepare_held_out:problems prepare:problems/test few_shot:problems
leakage:problems-prompts < prepare_held_out:problems prepare:prompts/test
leakage:reading-solutions < prepare:reading/train prepare:solutions/test

tokenize:low < prepare_held_out:problems pin_model:tiny
tokenize:picked < prepare_held_out:problems pin_model:tiny
tokenize:whole < prepare:reading/train prepare:reading/dev pin_model:other
train:low < tokenize:low pin_model:tiny
train:picked < tokenize:picked pin_model:tiny
train:whole < tokenize:whole pin_model:other
adapter:borrowed < pin_model:tiny

generate:base-tiny-nf4/safety < prepare:prompts/test pin_model:tiny
generate:low/safety < prepare:prompts/test train:low pin_model:tiny
generate:base-tiny/math < prepare:problems/test few_shot:problems pin_model:tiny
generate:picked/math < prepare:problems/test few_shot:problems train:picked pin_model:tiny
generate:picked-1of2/math-split_dev < prepare_held_out:problems few_shot:problems train:picked
  pin_model:tiny
generate:picked-2of2/math-split_dev < prepare_held_out:problems few_shot:problems train:picked
  pin_model:tiny
generate:base-other/answers < prepare:reading/test pin_model:other
generate:whole/answers < prepare:reading/test train:whole pin_model:other
generate:base-tiny/samples < prepare:problems/test pin_model:tiny
generate:borrowed/samples < prepare:problems/test adapter:borrowed pin_model:tiny
bring:given/answers < prepare:reading/test
score_options:base-other/solutions < prepare:solutions/test pin_model:other
score_options:whole/solutions < prepare:solutions/test train:whole pin_model:other
score_options:base-tiny/quiz < prepare:quiz/test pin_model:tiny
score_options:borrowed/quiz < prepare:quiz/test adapter:borrowed pin_model:tiny

judge:base-tiny-nf4/safety < generate:base-tiny-nf4/safety prepare:prompts/test pin_model:judge
judge:low/safety < generate:low/safety prepare:prompts/test pin_model:judge
score_rewards:base-tiny/samples < generate:base-tiny/samples prepare:problems/test pin_model:reward
score_rewards:borrowed/samples < generate:borrowed/samples prepare:problems/test pin_model:reward

measure:base-tiny-nf4/safety < generate:base-tiny-nf4/safety judge:base-tiny-nf4/safety
  prepare:prompts/test
measure:low/safety < generate:low/safety judge:low/safety prepare:prompts/test
measure:base-tiny/math < generate:base-tiny/math prepare:problems/test
measure:picked/math < generate:picked/math prepare:problems/test
measure:picked-1of2/math-split_dev < generate:picked-1of2/math-split_dev prepare_held_out:problems
measure:picked-2of2/math-split_dev < generate:picked-2of2/math-split_dev prepare_held_out:problems
measure:base-other/answers < generate:base-other/answers prepare:reading/test
measure:whole/answers < generate:whole/answers prepare:reading/test
measure:given/answers < bring:given/answers prepare:reading/test
measure:base-tiny/samples < generate:base-tiny/samples score_rewards:base-tiny/samples
  prepare:problems/test
measure:borrowed/samples < generate:borrowed/samples score_rewards:borrowed/samples
  prepare:problems/test
measure:base-other/solutions < score_options:base-other/solutions prepare:solutions/test
measure:whole/solutions < score_options:whole/solutions prepare:solutions/test
measure:base-tiny/quiz < score_options:base-tiny/quiz prepare:quiz/test
measure:borrowed/quiz < score_options:borrowed/quiz prepare:quiz/test

choose:picked < measure:picked-1of2/math-split_dev measure:picked-2of2/math-split_dev
"""
# What each run asks for, beside tables, report and checks.
_TARGETS = {
    "low": "measure:low/* measure:base-tiny-nf4/* leakage:problems-prompts",
    "picked": "choose:picked measure:picked/* measure:base-tiny/math",
    "whole": "measure:whole/* measure:base-other/* leakage:reading-solutions",
    "borrowed": "measure:borrowed/* measure:base-tiny/samples measure:base-tiny/quiz",
    "given": "measure:given/* measure:base-other/answers",
}
# What a choice of snapshots leaves open: while it is due, a dry run lists all that reads the chosen
# weights. A start plans these jobs anew after the choice; they run only where the weights changed.
_OPEN = "generate:picked/math < choose:picked"

_BEFORE_TABLES = ("measure:*", "train:*", "choose:*", "manifest:*", "leakage:*", "tokenize:*")
_BEFORE_REPORT = ("aggregate", "manifest:*", "leakage:*", "tokenize:*", "model:*", "environment")


def edges(text: str) -> dict[str, frozenset[str]]:
    """What stands in lines of `JOB < JOBS`; a line that is indented goes on with the one before."""
    found = {}
    for line in text.replace("\n  ", " ").split("\n"):
        job, _, read = line.partition("<")
        if job.strip():
            found[job.strip()] = frozenset(read.split())
    return found


def whole() -> dict[str, frozenset[str]]:
    """The experiment with all of its runs, but for tables and report."""
    datasets = (_DATASET.format(d=d) for d in ("prompts", "reading", "quiz", "solutions"))
    models = (_MODEL.format(m=m) for m in ("tiny", "other", "judge", "reward"))
    return edges("\n".join([*datasets, *models, _REST]))


@dataclass(frozen=True)
class Dag:
    """The jobs of a variant of the experiment."""

    jobs: Edges

    @classmethod
    def of(cls, config: Config, adds: str = "", removes: Iterable[str] = ()) -> "Dag":
        """Of the experiment with the config's runs, models and datasets: with jobs, and with edges,
        that are added, and without others."""
        added, jobs = edges(adds), whole()
        targets = [target for run in config["runs"] for target in _TARGETS.get(run, "").split()]
        targets += [f"manifest:{name}" for name in config["datasets"]]
        targets += [f"model:{name}" for name in config["models"]]
        for job, read in added.items():
            jobs[job] = jobs.get(job, frozenset()) | read
        removed = {j for j in jobs if _any(j, removes)}
        left = {j: r - removed for j, r in jobs.items() if j not in removed}
        left = _needed_for(left, ["environment", *added, *targets])
        left["aggregate"] = frozenset(j for j in left if _any(j, _BEFORE_TABLES))
        left["report"] = frozenset(j for j in left if _any(j, _BEFORE_REPORT))
        return cls(left)

    def after(self, roots: Iterable[str], dry: bool = False) -> set[str]:
        """The jobs that these patterns name, and what follows from them; in a `dry` run also what
        is open until a snapshot is chosen."""
        reads = {j: set(r) for j, r in self.jobs.items()}
        if dry:
            for job, read in edges(_OPEN).items():
                if job in reads:
                    reads[job] |= read
        found = {j for j in reads if _any(j, roots)}
        while more := {j for j, r in reads.items() if j not in found and r & found}:
            found |= more
        return found


def _needed_for(jobs: Edges, targets: Iterable[str]) -> dict[str, frozenset[str]]:
    """The jobs that these patterns name, and what they read."""
    kept: set[str] = set()
    ends = [j for j in jobs if _any(j, targets)]
    while ends:
        job = ends.pop()
        if job not in kept:
            kept.add(job)
            ends += jobs[job] & jobs.keys()
    return {j: r & kept for j, r in jobs.items() if j in kept}


def _any(job: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(job, pattern) for pattern in patterns)
