# What the rules look up: what a wildcard stands for, which files belong to it, what identifies it.
# EXPERIMENT and PLAN are known from the config alone; E is the folder of the results.

import json
import os

from snaketune.plan import requests as asked, estimate
from snaketune.config.eval_checks import asks_for_numbers
from snaketune.data import steps
from snaketune.models.content import content_of_adapter, model_identity, tokenizer_identity
from snaketune.plan.name_pattern import name_pattern
from snaketune.steps.versions import made_by, step_version
from snaketune.plan.table_plan import TablePlan, further_names

WEIGHTS = {
    "adapter": ("adapter_model.safetensors", "adapter_config.json"),
    "full": ("model.safetensors", "config.json"),
}


def made(step: str):
    """What the artefacts of a step record of the code that makes them. Snakemake takes a param that
    looks at the output as following from it: it neither stores it nor runs a job again for it."""
    return lambda wildcards, output: made_by(step)


def any_of(names) -> str:
    """A wildcard constraint: one of the names, or nothing at all."""
    return name_pattern(names)


# Trainings.


def training_settings(run: str) -> dict:
    """What decides a run's training but for its rows."""
    spec = EXPERIMENT.runs[run]
    return {
        "base": model_identity(EXPERIMENT.models[spec.model]),
        "preset": EXPERIMENT.presets[spec.preset].identity(),
        "seed": spec.seed,
        "snapshots": snapshot_count(EXPERIMENT, spec),
    }


# Models and adapters. Their content is a param and their files are no inputs: a fresh checkout, or
# a folder that was moved, is the same model.


def model_pin(name: str) -> str:
    """Where the model's commit is noted."""
    return f"{E}/models/{name}.pin.json"


def pinned_identity(name: str) -> dict:
    """What decides a model's commit; one in a folder has none."""
    spec = EXPERIMENT.models[name]
    in_folder = Path(spec.id).is_dir()
    return {} if in_folder else {"id": spec.id, "revision": spec.revision}


def model_fields(name: str) -> dict:
    """A model as a job loads it."""
    return EXPERIMENT.models[name].model_dump(mode="json")


def adapter_made_here(run: str) -> list[str]:
    """The files of an adapter that a run of this experiment makes, such as a snapshot's."""
    folder = os.path.relpath(EXPERIMENT.runs[run].adapter)
    made_here = folder.startswith(os.path.relpath(E) + os.sep)
    return weights_in(folder, "adapter") if made_here else []


def adapter_identity(run: str) -> dict:
    """What identifies an adapter that was trained elsewhere."""
    spec = EXPERIMENT.runs[run]
    if adapter_made_here(run):
        return {"adapter": os.path.relpath(spec.adapter, E)}
    if Path(spec.adapter).is_dir():
        return {"content": content_of_adapter(Path(spec.adapter))}
    return {"adapter": spec.adapter, "revision": spec.adapter_revision}


# Data.


def dataset_of(wildcards):
    return EXPERIMENT.datasets[wildcards.dataset]


def places_of(wildcards, output) -> dict:
    """Where the dataset's files lie. Takes `output`, so that Snakemake doesn't compare it."""
    return steps.source_places(dataset_of(wildcards))


def numeric(dataset: str) -> bool:
    return asks_for_numbers(EXPERIMENT, dataset)


def training_files(dataset: str) -> list[str]:
    """What a dataset's training records are read from: where dev was held out of them, it and its
    places too."""
    held_out = ["dev.parquet", "dev.json"] if EXPERIMENT.datasets[dataset].dev else []
    return [f"{E}/data/{dataset}/{name}" for name in ["train.parquet", *held_out]]


def compared_with(wildcards) -> list[str]:
    """What a test split is held against before it is written, where overlaps are left out of it."""
    if wildcards.split != "test" or dataset_of(wildcards).overlap != "drop":
        return []
    names = ("train.parquet", "dev.parquet", "few_shot.json")
    return [f"{E}/data/{wildcards.dataset}/{name}" for name in names]


def tokens_data(name: str):
    return lambda wildcards: f"{E}/data/{PLAN.tokens[wildcards.tokens].dataset}/{name}"


def shown_to(wildcards) -> dict[str, dict]:
    """By dataset: how many few-shot examples the evals of a token set's runs show, and what decides
    these. The same for every `few_shot.count` that leaves them as they are."""
    shown = {}
    for name, count in sorted(PLAN.tokens[wildcards.tokens].few_shot.items()):
        spec = EXPERIMENT.datasets[name]
        settings = steps.shown_settings(spec, numeric(name))
        shown[name] = {"count": count, "settings": settings, "file": steps.few_shot_content(spec)}
    return shown


def shown_from(wildcards) -> dict[str, list[str]]:
    """The training records that these are drawn from, by dataset."""
    return {
        f"shown_{name}": training_files(name)
        for name in PLAN.tokens[wildcards.tokens].few_shot
        if EXPERIMENT.datasets[name].few_shot.file is None
    }


def shown_places(wildcards, output) -> dict[str, dict]:
    """Where the files of these datasets lie. Takes `output`: see `places_of`."""
    names = PLAN.tokens[wildcards.tokens].few_shot
    return {name: steps.source_places(EXPERIMENT.datasets[name]) for name in names}


# Runs and their snapshots.


def run_model(wildcards) -> str:
    return EXPERIMENT.runs[wildcards.run].model


def run_preset(wildcards):
    return EXPERIMENT.presets[EXPERIMENT.runs[wildcards.run].preset]


def run_tokens(split: str):
    return lambda wildcards: f"{E}/tokens/{PLAN.run_tokens[wildcards.run]}/{split}.parquet"


def weights_in(folder: str, kind: str) -> list[str]:
    return [f"{folder}/{name}" for name in WEIGHTS[kind]]


def snapshot_metrics(wildcards) -> list[str]:
    return [
        f"{E}/metrics/{row.state}/{entry.protocol_name}.json"
        for row in PLAN.run_table[wildcards.run].snapshots
        for entry in row.evals.values()
    ]


def chosen_snapshot(run: str) -> str:
    """The folder of the snapshot that was chosen; known once all of them are measured."""
    file = checkpoints.choose.get(run=run).output[0]
    return f"snapshots/{json.loads(Path(file).read_text())['snapshot']}"


# States and protocols. GIVEN have predictions that were made elsewhere.

GIVEN = {state: None for state, _ in PLAN.given}


def state_model(wildcards) -> str:
    return PLAN.states[wildcards.state].model


def base_params(model: str, quantisation: str, weights: str = "none") -> dict:
    """A state but for its run's files, as a job loads it: see snaketune.inference.jobs."""
    return {"model": model_fields(model), "quantisation": quantisation, "weights": weights}


def base_identity(model: str, quantisation: str, weights: str = "none") -> dict:
    """What identifies a state but for its run's files."""
    identity = model_identity(EXPERIMENT.models[model])
    return {"model": identity, "quantisation": quantisation, "weights": weights}


def state_of(name: str) -> tuple[str, str, str]:
    """The state's model, quantisation and kind of weights."""
    state = PLAN.states[name]
    return state.model, state.quantisation, state.weights


def judging_state(wildcards) -> tuple[str, str]:
    """The judge's model and quantisation."""
    name = judge_of(wildcards).model
    return name, EXPERIMENT.models[name].quantisation or "none"


def state_weights(wildcards) -> list[str]:
    """What lies on top of the state's base model: the snapshot's, the chosen or the final files."""
    if wildcards.state in GIVEN:
        return []
    state = PLAN.states[wildcards.state]
    if state.weights == "none":
        return []
    if state.snapshot:
        return weights_in(f"{E}/train/{state.run}/snapshots/{state.snapshot}", state.weights)
    return weights_of(state.run)


def weights_of(run: str) -> list[str]:
    """What a run arrived at: the chosen snapshot's weights, or the final ones."""
    folder = chosen_snapshot(run) if EXPERIMENT.runs[run].choose else "final"
    return weights_in(f"{E}/train/{run}/{folder}", PLAN.states[run].weights)


def weights_of_run(wildcards) -> list[str]:
    return weights_of(wildcards.run)


def predictions_of(wildcards) -> str:
    """The state's predictions. Its weights are asked for first: where a snapshot is yet to be
    chosen, what follows is planned anew after the choice, and finished replies stay judged."""
    state_weights(wildcards)
    return f"{E}/predictions/{wildcards.state}/{wildcards.protocol}.jsonl"


def protocol_data(wildcards, name: str) -> str:
    return f"{E}/data/{PLAN.protocols[wildcards.protocol].dataset}/{name}"


def examples_of(wildcards) -> str:
    return protocol_data(wildcards, f"{PLAN.protocols[wildcards.protocol].split}.parquet")


def few_shot_of(wildcards) -> list[str]:
    """The few-shot file, where the protocol shows examples."""
    shown = PLAN.protocols[wildcards.protocol].few_shot
    return [protocol_data(wildcards, "few_shot.json")] if shown else []


def shards_of(wildcards, ending: str) -> list[str]:
    folder = f"{E}/predictions/{wildcards.state}/{wildcards.protocol}.shards"
    names = snapshots(PLAN.protocols[wildcards.protocol].shards)
    return [f"{folder}/{name}.{ending}" for name in names]


def shard_numbers(shard: str) -> list[int]:
    """`2of4` → place 1 of 4, counted from 0."""
    place, _, count = shard.partition("of")
    return [int(place) - 1, int(count)]


def labels_of(spec) -> list[str]:
    return spec.classes.labels if spec.classes else []


def judge_of(wildcards):
    return PLAN.protocols[wildcards.protocol].judge


def verdicts_of(wildcards) -> list[str]:
    file = f"{E}/verdicts/{wildcards.state}/{wildcards.protocol}.jsonl"
    return [file] if judge_of(wildcards) else []


def reward_model(spec):
    return spec.sampling.reward if spec.sampling else None


def reward_of(wildcards):
    return reward_model(PLAN.protocols[wildcards.protocol])


def rewards_of(wildcards) -> list[str]:
    """The samples' rewards; those of predictions made elsewhere came with them."""
    file = f"{E}/rewards/{wildcards.state}/{wildcards.protocol}.jsonl"
    return [file] if reward_of(wildcards) and wildcards.state not in GIVEN else []


def largest_of(wildcards) -> int | None:
    """The most samples that anything is measured of; None where there is one reply."""
    sampling = PLAN.protocols[wildcards.protocol].sampling
    return sampling.at[-1] if sampling else None


def measured(kind: str, ending: str) -> list[str]:
    """The files of a kind of all states under all their protocols."""
    return [f"{E}/{kind}/{state}/{protocol}.{ending}" for state, protocol in PLAN.measured]


def judged(ending: str) -> list[str]:
    return [
        f"{E}/verdicts/{state}/{protocol}.{ending}"
        for state, protocol in PLAN.measured
        if PLAN.protocols[protocol].judge
    ]


def rewarded(ending: str) -> list[str]:
    return [
        f"{E}/rewards/{state}/{protocol}.{ending}"
        for state, protocol in PLAN.measured
        if reward_model(PLAN.protocols[protocol]) and state not in GIVEN
    ]


# Tables.

TABLE = TablePlan(experiment=Path(E).name, runs=PLAN.table, drops=EXPERIMENT.drops)


def further_tables() -> dict[str, str]:
    """The tables that only some experiments have."""
    return {name: f"{E}/tables/{name}.csv" for name in further_names(TABLE)}


# Resources: the config's, else the estimate, and as much again with every further attempt.


def evaluation_needs(wildcards):
    return asked.evaluation_estimate(EXPERIMENT, PLAN, wildcards.state, wildcards.protocol)


def overrides(run: str | None) -> list:
    own = [EXPERIMENT.runs[run].resources] if run else []
    return [*own, EXPERIMENT.resources]


def training_memory(wildcards, attempt: int) -> str:
    needs = asked.training_estimate(EXPERIMENT, wildcards.run)
    return estimate.asked_memory(needs, *overrides(wildcards.run), attempt=attempt)


def training_minutes(wildcards, attempt: int) -> int:
    needs = asked.training_estimate(EXPERIMENT, wildcards.run)
    return estimate.asked_minutes(needs, *overrides(wildcards.run), attempt=attempt)


def evaluation_memory(wildcards, attempt: int) -> str:
    own = overrides(asked.run_behind(PLAN, wildcards.state))
    return estimate.asked_memory(evaluation_needs(wildcards), *own, attempt=attempt)


def evaluation_minutes(wildcards, attempt: int) -> int:
    own = overrides(asked.run_behind(PLAN, wildcards.state))
    return estimate.asked_minutes(evaluation_needs(wildcards), *own, attempt=attempt)


# For the models that look at replies.


def helper_memory(wildcards, attempt: int) -> str:
    needs = asked.helper_estimate(EXPERIMENT, PLAN.protocols[wildcards.protocol])
    own = overrides(asked.run_behind(PLAN, wildcards.state))
    return estimate.asked_memory(needs, *own, attempt=attempt)


def helper_minutes(wildcards, attempt: int) -> int:
    needs = asked.helper_estimate(EXPERIMENT, PLAN.protocols[wildcards.protocol])
    own = overrides(asked.run_behind(PLAN, wildcards.state))
    return estimate.asked_minutes(needs, *own, attempt=attempt)


# GPUs as they are granted, so that a job on a cluster asks for what was submitted for it. A job's
# own process was given its threads, and Snakemake holds it to them.

ONE_GPU = 1 if GPUS is None else min(1, GPUS)
CORES = workflow.resource_settings.cores if workflow.is_main_process else None
THREADS = threads_for(ONE_GPU, CORES, GPUS)


def training_gpus(wildcards) -> int:
    return EXPERIMENT.runs[wildcards.run].gpu


def training_threads(wildcards) -> int:
    return threads_for(training_gpus(wildcards), CORES, GPUS)


# Where no model is loaded: so much, and as much again.


def gigabytes(amount: int):
    return lambda wildcards, attempt: f"{amount * attempt}GB"


def minutes(amount: int):
    return lambda wildcards, attempt: amount * attempt


def merge_memory(wildcards, attempt: int) -> str:
    needs = estimate.loading(EXPERIMENT.models[run_model(wildcards)])
    return estimate.asked_memory(needs, *overrides(wildcards.run), attempt=attempt)


def submitted_jobs() -> dict[Asked, None]:
    """What the jobs that go to a cluster ask for, each combination once."""
    jobs = (job for job in workflow.dag.needrun_jobs() if not job.is_local)
    return {Asked(job.rule.name, named_resources(job)): None for job in jobs}


def profile_names() -> Profile:
    """What the profile, or the command line, names of its own."""
    settings = workflow.resource_settings
    return Profile(
        resources=[name for name in workflow.global_resources if not name.startswith("_")],
        scopes=list(settings.overwrite_resource_scopes),
        set_resources=list(settings.overwrite_resources),
        set_threads=list(settings.overwrite_threads),
    )


def named_resources(job) -> tuple[tuple[str, str], ...]:
    values = ((name, job.resources.get(name)) for name in job.resources.keys())
    return tuple((name, str(value)) for name, value in values if value not in (None, ""))
