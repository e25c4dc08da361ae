"""The plan in words, for `snakemake check`: what is trained and asked, on how much, whether it
fits a GPU and how long it takes there, what is lost on the way and what so many rows can show.

What is not known yet is assumed and marked with ~. Light: the Snakefile calls it.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from snaketune.config.experiment import Experiment
from snaketune.config.run import RunSpec
from snaketune.plan.estimate import parameters_of
from snaketune.plan.experiment_plan import Plan, learners_of, some_of
from snaketune.plan.forecast import (
    KINDS,
    GpuKind,
    ReplyForecast,
    TrainingForecast,
    replies,
    splits_in,
    trainings,
)
from snaketune.plan.states import training_method
from snaketune.runtime.job_lines import WIDTH

_MOST_LINES = 24
"""Of a table; of more its last line says how many there are."""
Table = list[Sequence[str]]


def overview(experiment: Experiment, plan: Plan, folder: Path, notes: Iterable[str]) -> str:
    """The text; `notes` are what the plan has to say besides."""
    trained, asked = trainings(experiment, plan, folder), replies(experiment, plan, folder)
    known = [*(job.known for job in trained), *(job.known for job in asked)]
    parts = [
        _head(experiment, plan),
        _table(_trained_rows(trained)) if trained else "",
        _table(_asked_rows(asked)) if asked else "",
        "~ assumed: the data is not prepared yet (`snakemake download …` or a start prepares it)"
        if not all(known)
        else "",
        _on_gpus(trained, asked),
        _lines("lost on the way", _lost(experiment, plan, folder)),
        _lines("to know", notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def known_here(experiment: Experiment, plan: Plan) -> list[str]:
    """The files that say how much there is, of what lies in files on this machine: of a hub nothing
    is fetched for it."""
    folder, local = experiment.folder, _local_data(experiment)
    files = [f"{folder}/data/{name}/manifest.json" for name in local]
    for key in dict.fromkeys(plan.run_tokens.values()):
        parts = plan.mixtures[key].tokens if key in plan.mixtures else (key,)
        sets = [plan.tokens[part] for part in parts]
        data = {name for tokens in sets for name in (tokens.dataset, *tokens.few_shot)}
        folders = all(Path(experiment.models[tokens.model].id).is_dir() for tokens in sets)
        if folders and data <= {*local}:
            files.append(f"{folder}/tokens/{key}/stats.json")
    return files


def _local_data(experiment: Experiment) -> list[str]:
    found = []
    for name, spec in experiment.datasets.items():
        sources = [spec.source] if isinstance(spec.source, str) else spec.source.values()
        if not any("://" in source or source.startswith("hub:") for source in sources):
            found.append(name)
    return found


def _head(experiment: Experiment, plan: Plan) -> str:
    smoke = " (a rehearsal on a few rows)" if experiment.smoke else ""
    counts = [
        _count(len(experiment.runs), "run"),
        _count(len(experiment.evals), "eval"),
        _count(len(experiment.datasets), "dataset"),
        _count(len(plan.measured), "measurement"),
    ]
    lines = [f"{experiment.experiment}{smoke}: {', '.join(counts)}"]
    for name, spec in experiment.models.items():
        used = [run for run, about in experiment.runs.items() if about.model == name]
        what = f"for {some_of(used, 6)}" if used else "helps"
        lines.append(_wrapped(f"{name}: {spec.id}, {_size(parameters_of(spec))}; {what}", "  "))
    for name, run in experiment.runs.items():
        if not run.train:
            lines.append(f"  run {name}: {_elsewhere(experiment, run)}, nothing is trained")
    return "\n".join(lines)


def _elsewhere(experiment: Experiment, run: RunSpec) -> str:
    kinds = {"adapter": f"the adapter {run.adapter}", "predictions": "predictions made elsewhere"}
    return kinds.get(training_method(experiment, run), "the model as it is")


def _trained_rows(trained: list[TrainingForecast]) -> Table:
    rows: Table = [("trained", "method", "rows", "tokens read", "steps")]
    for job in trained:
        sign = "" if job.known else "~"
        rows.append(
            (
                job.run,
                job.preset.method,
                f"{sign}{job.rows:,}",
                f"{sign}{_size(job.tokens)}",
                f"{sign}{job.steps:,}",
            )
        )
    return rows


def _asked_rows(asked: list[ReplyForecast]) -> Table:
    rows: Table = [("asked", "task", "rows", "of models", "tokens a reply at most")]
    for job in asked:
        sampling = job.spec.sampling
        many = f" × {sampling.samples} replies" if sampling and job.spec.generates else ""
        tokens = f"{job.spec.max_new_tokens:,}" if job.spec.generates else "options are scored"
        sign = "" if job.known else "~"
        rows.append((job.eval, job.task, f"{sign}{job.rows:,}{many}", str(job.states), tokens))
    return rows


def _on_gpus(trained: list[TrainingForecast], asked: list[ReplyForecast]) -> str:
    """Memory and time by kind of GPU, and what would make a job fit."""
    jobs: list[tuple[str, TrainingForecast | ReplyForecast]] = [
        *((f"train {job.run}", job) for job in trained),
        *((f"ask {job.eval}", job) for job in asked),
    ]
    if not jobs:
        return ""
    rows: Table = [
        ("on one GPU", "memory", *(f"{kind.gigabytes} GB ({kind.such_as})" for kind in KINDS))
    ]
    named: dict[tuple[str, ...], list[str]] = {}
    for name, job in jobs:
        cells = (f"{job.needed / 1e9:.1f} GB", *(_cell(job, kind) for kind in KINDS))
        named.setdefault((name.split()[0], *cells), []).append(name.partition(" ")[2])
    for (verb, *figures), names in named.items():
        more = f" and {len(names) - 3} others" if names[3:] else ""
        each = "each of " if names[1:] else ""
        rows.append((f"{verb} {each}{', '.join(names[:3])}{more}", *figures))
    times = [sum(job.seconds(kind) for _, job in jobs) for kind in KINDS]
    if len(jobs) > 1:
        rows.append(("all of it, one after another", "", *map(time_estimate, times)))
    text = [
        _table(rows),
        _wrapped(
            "Estimates: memory at least, one row at once; time from published figures of "
            "these GPUs, with replies as long as they may be. The report says what was used.",
        ),
    ]
    text += [_wrapped(line) for line in _too_small(jobs)]
    return "\n".join(text)


def _cell(job: TrainingForecast | ReplyForecast, kind: GpuKind) -> str:
    return time_estimate(job.seconds(kind)) if job.needed <= kind.room else "too small"


def _too_small(jobs: list[tuple[str, TrainingForecast | ReplyForecast]]) -> Iterator[str]:
    """For each job that does not fit, on the largest GPU that is too small, what would help."""
    for name, job in jobs:
        kinds = [kind for kind in KINDS if _cell(job, kind) == "too small"]
        if kinds and isinstance(job, TrainingForecast):
            helps = ", or ".join(job.remedies(kinds[-1].room))
            yield f"on {kinds[-1].gigabytes} GB {name} would fit with {helps}"
        elif kinds:
            helps = "a smaller model, or with `quantisation: nf4` in it"
            yield f"on {kinds[-1].gigabytes} GB {name} would fit with {helps}"


def _lost(experiment: Experiment, plan: Plan, folder: Path) -> list[str]:
    """Records that are none, and examples that make no training row, with the reasons."""
    seen, told = False, list[str]()
    for name in experiment.datasets:
        for split, counts in splits_in(folder / "data" / name / "manifest.json").items():
            seen = True
            if counts["rejected"]:
                lost = f"{counts['in'] - counts['out']:,} of {counts['in']:,} records"
                told.append(f"{name}, {split}: {lost} ({_reasons(counts['rejected'])})")
    for key in dict.fromkeys(plan.run_tokens.values()):
        whose = f"training rows of {some_of(learners_of(plan, key))}"
        for split, counts in splits_in(folder / "tokens" / key / "stats.json").items():
            seen = True
            if counts["dropped"]:
                lost = f"{sum(counts['dropped'].values()):,} of {counts['in']:,} examples"
                told.append(f"{whose}, {split}: {lost} ({_reasons(counts['dropped'])})")
            if counts["truncated"]:
                told.append(f"{whose}, {split}: {counts['truncated']:,} are cut at max_length")
    return told or ["nothing" if seen else "not known before the data is prepared"]


def _reasons(counts: dict[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    told = [f"{count:,} {reason}" for reason, count in most[:4]]
    return "; ".join(told) + ("; others" if most[4:] else "")


def _lines(title: str, lines: Iterable[str]) -> str:
    told = list(lines)
    return "\n".join([title, *(_wrapped(line, "  ") for line in told)]) if told else ""


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )


def _table(rows: Table) -> str:
    """Words to the left, figures to the right, as wide as each column's widest cell."""
    if len(rows) > _MOST_LINES + 1:
        others = len(rows) - _MOST_LINES
        rows = [*rows[:_MOST_LINES], (f"and {others} others", *[""] * (len(rows[0]) - 1))]
    widths = [min(44, max(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first = row[0] if len(row[0]) <= 44 else row[0][:43] + "…"
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def time_estimate(seconds: float) -> str:
    """`a minute`, `25 min`, `3.2 h`"""
    if seconds < 90:
        return "a minute"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _size(number: float) -> str:
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
