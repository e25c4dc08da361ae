"""What is wrong with runs beside what they name: presets, models, data, evals, and one another."""

from collections.abc import Iterator

from snaketune.config.base import PERPLEXITY
from snaketune.config.dataset import may_have_dev
from snaketune.config.eval_checks import change_faults, choose_faults, row_faults
from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, Path_, missing_name
from snaketune.config.model import (
    RUN_IN_NAME,
    VLLM_RANKS,
    ModelSpec,
    Preset,
)
from snaketune.config.run import RunSpec


def run_faults(
    experiment: Experiment, judges: set[str], name: str, run: RunSpec
) -> Iterator[Fault]:
    """Of one run, beside what it names."""
    preset = experiment.presets.get(run.preset or "")
    model = experiment.models.get(run.model or "")
    yield from _given_faults(experiment, name, run)
    if preset and model:
        yield from _quantisation_faults(name, run, preset, model)
    if preset and preset.method != "full":
        yield from _vllm_faults(experiment, name, run, preset)
    if run.snapshots == "epochs" and preset and not float(preset.epochs).is_integer():
        found = f"epochs needs whole epochs, but presets.{run.preset} has {preset.epochs}"
        yield Fault(("runs", name, "snapshots"), found)
    # Smoke sets max_steps itself: its snapshots only have to be there.
    if run.snapshots == "epochs" and preset and preset.max_steps and not experiment.smoke:
        found = f"epochs ends at whole epochs, but presets.{run.preset}.max_steps is"
        expected = "expected a number of snapshots, or no max_steps"
        yield Fault(("runs", name, "snapshots"), f"{found} {preset.max_steps}; {expected}")
    yield from row_faults(experiment, name, run)
    if preset and preset.best != "none":
        yield from _best_faults(experiment, name, run, preset.best)
    for eval_name in run.follow:
        if eval_name not in experiment.evals:
            yield missing_name(("runs", name, "follow"), "evals", eval_name, experiment.evals)
        elif run.evals.get(eval_name) is False:
            found = f"found {eval_name}, which runs.{name}.evals leaves out"
            yield Fault(("runs", name, "follow"), found)
    if run.choose:
        yield from choose_faults(experiment, name, run, run.choose)
    for eval_name, change in run.evals.items():
        path: Path_ = ("runs", name, "evals", eval_name)
        if eval_name not in experiment.evals:
            yield missing_name(path, "evals", eval_name, experiment.evals)
        elif isinstance(change, dict):
            spec = experiment.evals[eval_name]
            yield from change_faults(experiment, judges, path, spec, change)


def _given_faults(experiment: Experiment, name: str, run: RunSpec) -> Iterator[Fault]:
    """Of predictions made elsewhere: which evals they are for, and what they are held against."""
    for eval_name in run.predictions:
        if eval_name not in experiment.evals:
            path = ("runs", name, "predictions", eval_name)
            yield missing_name(path, "evals", eval_name, experiment.evals)
        elif experiment.evals[eval_name].task == PERPLEXITY:
            found = "found a file, but perplexity is of a model, which no predictions stand for"
            yield Fault(("runs", name, "predictions", eval_name), found)
    if run.base and run.base not in experiment.runs:
        yield missing_name(("runs", name, "base"), "runs", run.base, experiment.runs)
    elif run.base == name:
        yield Fault(("runs", name, "base"), f"found {name}, the run itself; expected another one")
    elif run.base:
        other = experiment.runs[run.base]
        for eval_name in run.predictions or _asked(experiment, run):
            if other.predictions and eval_name not in other.predictions:
                found = f"found {run.base}, which has no predictions for {eval_name}"
                yield Fault(("runs", name, "base"), found)


def _asked(experiment: Experiment, run: RunSpec) -> list[str]:
    """The names of the evals of a run that answers them itself."""
    return [
        key
        for key in experiment.evals
        if run.evals.get(key) is not False and key not in experiment.leave_out
    ]


def _quantisation_faults(
    name: str, run: RunSpec, preset: Preset, model: ModelSpec
) -> Iterator[Fault]:
    """An adapter is evaluated on the weights that it was trained on, so both say the same."""
    path, method = ("runs", name, "preset"), preset.method
    trained_on = "nf4" if method == "qlora" else "none"
    if model.quantisation not in (None, trained_on):
        weights = "nf4" if method == "qlora" else "plain"
        found = f"method {method} trains on {weights} weights, but models.{run.model}.quantisation"
        yield Fault(
            path, f"{found} is {model.quantisation}; expected it to be unset, or {trained_on}"
        )
    if method == "qlora" and preset.dtype not in ("auto", model.dtype):
        found = f"presets.{run.preset}.dtype is {preset.dtype}, but models.{run.model}.dtype is"
        expected = "expected the same: 4-bit weights follow from the numbers that they are made of"
        yield Fault(path, f"{found} {model.dtype}; {expected}")


def _vllm_faults(
    experiment: Experiment, name: str, run: RunSpec, preset: Preset
) -> Iterator[Fault]:
    """Of adapters that vLLM can't serve, which it would say after their training."""
    by_vllm = [
        key
        for key in _asked(experiment, run)
        if run.change_of(key).get("backend", experiment.evals[key].backend) == "vllm"
    ]
    found = [f"lora.r {preset.lora.r}"] if preset.lora.r > VLLM_RANKS[-1] else []
    found += ["lora.dora"] if preset.lora.dora else []
    if by_vllm and found:
        yield Fault(
            ("runs", name, "preset"),
            f"found {run.preset}, with {' and '.join(found)}, but evals.{by_vllm[0]} is answered "
            f"by vllm, which serves adapters without DoRA, up to rank {VLLM_RANKS[-1]}; expected "
            "such a preset, or backend: transformers",
        )


def _best_faults(experiment: Experiment, name: str, run: RunSpec, best: str) -> Iterator[Fault]:
    """Of a preset that keeps the weights that are best on dev."""
    path, key = ("runs", name, "preset"), f"presets.{run.preset}.best"
    known = {k: d for k in run.learns_from if (d := experiment.datasets.get(k))}
    if run.choose:
        yield Fault(
            path, f"both choose and {key} say which weights are taken; expected one of them"
        )
    for data, spec in known.items():
        if best == "accuracy" and spec.task != "classification":
            found = f"{key} is accuracy, but datasets.{data} is {spec.task}"
            yield Fault(path, f"{found}; expected a classification dataset, or best: loss")
    if known and not any(map(may_have_dev, known.values())):
        found = f"{key} is {best}, but datasets.{', '.join(known)} has no dev split"
        yield Fault(path, f"{found}; expected dev: N there, or a source that has one")


def push_faults(experiment: Experiment) -> Iterator[Fault]:
    """Runs, of one sweep or not, that would overwrite one another's repository."""
    taken: dict[str, str] = {}
    for name, run in experiment.runs.items():
        if run.push is None:
            continue
        path, repo = ("runs", name, "push"), run.push.repo.replace(RUN_IN_NAME, name)
        if RUN_IN_NAME not in run.push.repo and (
            run.seeds > 1 or any(len(values) > 1 for values in run.sweep.values())
        ):
            found = f"found {repo} for all runs of the sweep"
            yield Fault(
                path, f"{found}, expected {RUN_IN_NAME} in the name, such as {repo}-{RUN_IN_NAME}"
            )
        if repo in taken:
            found = f"found {repo}, which runs.{taken[repo]} is pushed to as well"
            yield Fault(path, f"{found}; expected a repository each, or {RUN_IN_NAME} in the name")
        taken.setdefault(repo, name)


_BESIDE = {
    *("seed", "sweep", "preset", "label", "push", "gguf"),
    *("resources", "gpu", "report_to", "save_every"),
}
"""What runs that are joined may differ in: their seed, and what decides no figure."""


def seed_faults(experiment: Experiment) -> Iterator[Fault]:
    """Runs that are joined though they differ in more than their seed, or not in that."""
    members: dict[str, list[str]] = {}
    for name, run in experiment.runs.items():
        if run.seed_of is not None:
            members.setdefault(run.seed_of, []).append(name)
    for row, names in members.items():
        if row in experiment.runs:
            yield Fault(("runs", names[0], "seed_of"), f"found {row}, which is a run of its own")
        runs = [experiment.runs[name] for name in names]
        made = [
            (run.model_dump(exclude=_BESIDE), experiment.presets.get(run.preset or ""))
            for run in runs
        ]
        for name, settings in zip(names, made, strict=True):
            if settings != made[0]:
                found = f"found {row}, but the run differs from {names[0]} in more than its seed"
                yield Fault(("runs", name, "seed_of"), found)
        if len({run.seed for run in runs}) < len(runs):
            found = f"found one seed twice among the runs of {row}"
            yield Fault(("runs", names[0], "seed_of"), f"{found}, expected different ones")
