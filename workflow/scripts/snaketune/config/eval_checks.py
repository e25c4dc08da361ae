"""What is wrong with evals, what runs change of them, and the rows that runs train on, beside the
rest of an experiment."""

from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import ValidationError

from snaketune.config.base import PERPLEXITY, TASKS, thought_budget
from snaketune.config.changes import changed_eval, every_eval
from snaketune.config.dataset import FORM, DatasetSpec, may_have_dev
from snaketune.config.evaluation import ClassesSpec, EvalSpec
from snaketune.config.experiment import Experiment
from snaketune.config.faults import Fault, FieldNames, Path_, from_pydantic, missing_name, suggest
from snaketune.config.model import Preset
from snaketune.config.run import RunSpec
from snaketune.data.record import fault_of_words
from snaketune.runtime.content import FINAL_METRICS


def eval_faults(experiment: Experiment, judges: Collection[str]) -> Iterator[Fault]:
    """Models, files and datasets that evals name, and the pairs under `drops`. `judges`: see
    `judges_of`."""
    for name, spec in experiment.evals.items():
        yield from _spec_faults(experiment, judges, ("evals", name), spec)
    yield from _drop_faults(experiment)


def judges_of(experiment: Experiment) -> set[str]:
    """The models that judge in an eval, or in what a run makes of one."""
    return {spec.judge.model for spec in every_eval(experiment) if spec.judge}


def _spec_faults(
    experiment: Experiment, judges: Collection[str], path: Path_, spec: EvalSpec
) -> Iterator[Fault]:
    if spec.judge and spec.judge.model not in experiment.models:
        yield missing_name((*path, "judge"), "models", spec.judge.model, experiment.models)
    if spec.judge and (found := fault_of_words(Path(spec.judge.guideline))):
        yield Fault((*path, "judge", "guideline"), found)
    yield from _reward_faults(experiment, judges, path, spec)
    if spec.backend == "vllm" and spec.sampling and not 0.01 <= spec.sampling.temperature <= 2:
        found = f"found {spec.sampling.temperature} with backend vllm, expected 0.01 to 2"
        yield Fault((*path, "sampling", "temperature"), f"{found}, or backend transformers")
    if data := experiment.datasets.get(spec.dataset):
        yield from _data_faults(path, spec, data)


def change_faults(
    experiment: Experiment, judges: Collection[str], path: Path_, spec: EvalSpec, change: dict
) -> Iterator[Fault]:
    """Of what a run, at `path`, changes of an eval; not those that the eval has itself."""
    try:
        changed = changed_eval(spec, change)
    except ValidationError as error:
        for fault in from_pydantic(error, FieldNames(EvalSpec)):
            yield Fault((*path, *fault.path), fault.message)
        return
    if "dataset" in change and changed.dataset not in experiment.datasets:
        yield missing_name((*path, "dataset"), "datasets", changed.dataset, experiment.datasets)
    if "shards" in change:
        found = "is how the work is shared out, which is the same for all runs"
        yield Fault((*path, "shards"), f"{found}; expected it under evals.{path[-1]}")
    if "unique_at_least" in (change.get("sampling") or {}):
        found = "says what the report shows of all runs"
        place = (*path, "sampling", "unique_at_least")
        yield Fault(place, f"{found}; expected it under evals.{path[-1]}")
    if changed.measured_as != spec.measured_as:
        found = (
            f"makes {changed.measured_as} of an eval of {spec.measured_as}, which no table joins"
        )
        yield Fault(path, f"{found}; expected an eval of its own")
    own = {fault.message for fault in _spec_faults(experiment, judges, path, spec)}
    for fault in _spec_faults(experiment, judges, path, changed):
        if fault.message not in own:
            yield fault


def metric_faults(experiment: Experiment, path: Path_, key: str) -> Iterator[Fault]:
    """Of `EVAL.METRIC`, which chooses a snapshot or has a least value."""
    name, _, metric = key.partition(".")
    if name not in experiment.evals:
        yield missing_name(path, "evals", name, experiment.evals)
        return
    task = experiment.evals[name].measured_as
    if not metric:
        yield Fault(path, f"found {key}, expected EVAL.METRIC such as {name}.{TASKS[task].primary}")
    elif metric not in TASKS[task].goals:
        found = f"found {metric}, which is no metric of {task} of which more is better"
        yield Fault(path, f"{found}{suggest(metric, TASKS[task].goals)}")


def _reward_faults(
    experiment: Experiment, judges: Collection[str], path: Path_, spec: EvalSpec
) -> Iterator[Fault]:
    model = spec.sampling.reward if spec.sampling else None
    if model is None:
        return
    path = (*path, "sampling", "reward")
    if model not in experiment.models:
        yield missing_name(path, "models", model, experiment.models)
    elif experiment.models[model].quantisation == "nf4":
        found = f"found {model} with quantisation nf4, which reward models are not loaded with"
        yield Fault(path, f"{found}; expected quantisation none")
    if model in judges or any(run.model == model for run in experiment.runs.values()):
        found = f"found {model}, which is also asked to write"
        yield Fault(path, f"{found}, expected a model that only scores")


def _data_faults(path: Path_, spec: EvalSpec, data: DatasetSpec) -> Iterator[Fault]:
    shown = data.few_shot.count
    if spec.few_shot > shown and not data.few_shot.file:
        found = f"found {spec.few_shot}, but datasets.{spec.dataset}.few_shot.count is {shown}"
        yield Fault((*path, "few_shot"), f"{found}; expected as many there at least")
    chat = data.chat if spec.chat is None else spec.chat
    if spec.few_shot and spec.task == "multiple_choice":
        own = spec.options.chat if spec.options else None
        if chat if own is None else own:
            found = "found few-shot examples of task multiple_choice under a chat template"
            expected = "expected chat: false, or examples in the prompt"
            yield Fault((*path, "few_shot"), f"{found}; {expected}")
    if spec.few_shot and not chat and "{context}" in (spec.prompt or data.prompt or ""):
        found = "found few-shot examples in plain text under a prompt that places {context}"
        expected = "expected {question} alone, below which the context then stands"
        yield Fault((*path, "few_shot"), f"{found}; {expected}")
    if (
        spec.task in _GIVEN_BY
        and data.task not in _GIVEN_BY[spec.task]
        and not numbers_of_a_table(spec, data)
    ):
        found = f"found {spec.dataset}, whose format {data.format} gives no {_NEEDED[spec.task]}"
        yield Fault((*path, "dataset"), f"{found}, which task {spec.task} needs")
    elif spec.classes:
        yield from _class_faults(path, spec.classes, spec.dataset, data)
    if spec.prompt is not None and data.format == "chat":
        found = f"found one, but datasets.{spec.dataset} holds conversations"
        yield Fault((*path, "prompt"), f"{found}, whose turns stand as they are; expected none")
    thinking = data.thinking if spec.thinking is None else spec.thinking
    if (budget := thought_budget(thinking)) is not None:
        yield from _budget_faults((*path, "thinking"), spec, data, budget)


def _budget_faults(path: Path_, spec: EvalSpec, data: DatasetSpec, budget: int) -> Iterator[Fault]:
    """Of thoughts that are to be closed by force."""
    found = f"found a budget of {budget} tokens"
    if not spec.generates:
        yield Fault(
            path,
            f"{found}, but task {spec.task} scores options and writes no thoughts; "
            "expected off or on",
        )
    elif spec.backend != "transformers":
        expected = "expected backend transformers, or off or on"
        yield Fault(path, f"{found}, which backend {spec.backend} does not keep to; {expected}")
    elif (data.chat if spec.chat is None else spec.chat) is False:
        yield Fault(
            path, f"{found} in plain text, which opens no thoughts; expected a chat template"
        )


def _class_faults(
    path: Path_, classes: ClassesSpec, dataset: str, data: DatasetSpec
) -> Iterator[Fault]:
    """Labels, and what is said of them, that aren't the dataset's."""
    place, expected = (*path, "classes"), f"expected those of datasets.{dataset}: {data.labels}"
    if classes.labels and set(classes.labels) != set(data.labels):
        yield Fault((*place, "labels"), f"found {classes.labels}, {expected}")
    for key, labels in (("names", [*classes.names]), ("positive", [classes.positive])):
        if unknown := [x for x in labels if x is not None and x not in data.labels]:
            yield Fault((*place, key), f"found {', '.join(unknown)}, {expected}")


_NEEDED = {
    "multiple_choice": "options",
    "classification": "labels",
    "open_qa": "gold answers",
    "math": "numbers",
    PERPLEXITY: "text without prompts (format text)",
}
# Whose datasets have what a task needs. Safety only needs prompts.
_GIVEN_BY = {
    "multiple_choice": {"multiple_choice"},
    "classification": {"classification"},
    "open_qa": {"open_qa", "math", "multiple_choice"},
    "math": {"math"},
    PERPLEXITY: {PERPLEXITY},
}


def numbers_of_a_table(spec: EvalSpec, data: DatasetSpec) -> bool:
    """Whether the answers are a table's own, which are checked for numbers when they are read."""
    return spec.task == "math" and data.format == "table" and data.task == "open_qa"


def asks_for_numbers(experiment: Experiment, dataset: str) -> bool:
    """Whether an eval needs a number as the answer of every record."""
    data = experiment.datasets[dataset]
    evals = (spec for spec in every_eval(experiment) if spec.dataset == dataset)
    return any(numbers_of_a_table(spec, data) for spec in evals)


def shows_options(experiment: Experiment, dataset: str) -> bool:
    """Whether an eval shows few-shot examples with their options."""
    evals = (spec for spec in every_eval(experiment) if spec.dataset == dataset)
    return any(spec.few_shot and spec.task == "multiple_choice" for spec in evals)


def row_faults(experiment: Experiment, name: str, run: RunSpec) -> Iterator[Fault]:
    """Of what can't be done with the rows that a run trains on."""
    preset = experiment.presets.get(run.preset or "", Preset())
    for data in run.learns_from:
        if data in experiment.datasets:
            yield from _rows_of(name, run, preset, data, experiment.datasets[data])
    if twice := [data for data in run.learns_from if run.learns_from.count(data) > 1]:
        yield Fault(("runs", name, "train"), f"found {twice[0]} twice, expected each dataset once")


def _rows_of(
    name: str, run: RunSpec, preset: Preset, data: str, spec: DatasetSpec
) -> Iterator[Fault]:
    if preset.overlong == "split" and spec.task != PERPLEXITY:
        found = f"presets.{run.preset}.overlong is split, but datasets.{data} is {spec.task}"
        yield Fault(("runs", name, "preset"), f"{found}; only text goes on in further rows")
    if spec.format in ("chat", "text") and run.prompt is not None:
        found = f"found one, but datasets.{data} is of format {spec.format}"
        yield Fault(("runs", name, "prompt"), f"{found}, which stands as it is; expected none")
    for key in FORM if spec.task == PERPLEXITY else ():
        if key != "prompt" and getattr(run, key):
            found = "found it, but text is no conversation; expected none"
            yield Fault(("runs", name, key), found)


def _drop_faults(experiment: Experiment) -> Iterator[Fault]:
    for name, other in experiment.drops.items():
        if name == other and name in experiment.evals:
            found = f"found {other}, the eval itself; expected the one that it drops from"
            yield Fault(("drops", name), found)
        unknown = [key for key in (name, other) if key not in experiment.evals]
        for key in unknown:
            yield missing_name(("drops", name), "evals", key, experiment.evals)
        if unknown:
            continue
        tasks = [experiment.evals[key].measured_as for key in (name, other)]
        if tasks[0] != tasks[1]:
            found = f"found {other} of task {tasks[1]}, expected an eval of task {tasks[0]}"
            yield Fault(("drops", name), found)


def gate_faults(experiment: Experiment) -> Iterator[Fault]:
    """What is asked of the gate beside what can be judged."""
    gate = experiment.gate
    for key in gate.not_worse:
        name, _, metric = key.partition(".")
        yield from metric_faults(experiment, ("gate", "not_worse", key), key)
        known = TASKS[experiment.evals[name].measured_as] if name in experiment.evals else None
        if known and metric in known.unpaired:
            paired = [goal for goal in known.goals if goal not in known.unpaired]
            found = f"found {metric}, by which two states are not compared row by row"
            yield Fault(("gate", "not_worse", key), f"{found}; expected {' or '.join(paired)}")
    if gate.against and not gate.not_worse:
        found = f"found {gate.against}, but no margin to compare it by"
        yield Fault(("gate", "against"), f"{found}; expected gate.not_worse beside it")
    if gate.always and not gate.not_worse and not any(experiment.thresholds.values()):
        found = "found nothing that is to be judged; expected thresholds, or not_worse"
        yield Fault(("gate",), found)


def against_faults(experiment: Experiment) -> Iterator[Fault]:
    """Where the earlier experiment that the gate compares with is none."""
    against = experiment.gate.against
    if against is None:
        return
    if Path(against).resolve() == Path(experiment.folder).resolve():
        found = f"found {against}, which is this experiment's own folder"
        yield Fault(("gate", "against"), f"{found}; expected an earlier one's")
    elif not Path(against, FINAL_METRICS).is_file():
        found = f"found {against}, in which there is no {FINAL_METRICS}"
        yield Fault(("gate", "against"), f"{found}; expected a folder of finished results")


def choose_faults(experiment: Experiment, name: str, run: RunSpec, choose: str) -> Iterator[Fault]:
    """The metric that chooses a snapshot."""
    path = ("runs", name, "choose")
    faults = list(metric_faults(experiment, path, choose))
    yield from faults
    if faults:
        return
    eval_name = choose.partition(".")[0]
    if eval_name in experiment.leave_out:
        yield Fault(path, f"eval {eval_name} is left out, but it chooses the snapshot")
    dataset = run.change_of(eval_name).get("dataset", experiment.evals[eval_name].dataset)
    data = experiment.datasets.get(dataset)
    if data and not may_have_dev(data):
        found = f"found {choose}, but datasets.{dataset} has no dev split to choose on"
        yield Fault(path, f"{found}; expected dev: N there, or a source that has one")
