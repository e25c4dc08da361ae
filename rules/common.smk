# What several files here share: where files lie, what a state is made of, what a job may take.
# EXPERIMENT and PLAN are known from the config alone; E is the folder of the results.

import json
from inspect import isfunction, signature

from snaketune.config.changes import asked_splits
from snaketune.data.steps import source_places
from snaketune.plan.experiment_plan import Cell, learners_of
from snaketune.plan.lookups import Lookup, weights_in
from snaketune.plan.states import gguf_file, name_pattern
from snaketune.plan.resources import (
    evaluation_request,
    helper_request,
    threads_for,
    training_request,
)
from snaketune.plan.table_plan import TablePlan, further_names
from snaketune.steps.versions import made_by, step_version

LOOKUP = Lookup(EXPERIMENT, PLAN)
TABLE = TablePlan(experiment=Path(E).name, runs=PLAN.table, drops=EXPERIMENT.drops)
TABLE_ROWS = TABLE.as_json()
ASKED_SPLITS = asked_splits(EXPERIMENT)
TRAINED = [name for name, run in EXPERIMENT.runs.items() if run.train]


def made(step: str):
    """What the artefacts of a step record of the code that makes them. Snakemake takes a param that
    looks at the output as following from it: it neither stores it nor runs a job again for it."""
    return lambda wildcards, output: made_by(step)


def model_pin(name: str) -> str:
    """Where the model's commit is noted."""
    return f"{E}/models/{name}.pin.json"


def model_of_run(wildcards) -> str:
    return EXPERIMENT.runs[wildcards.run].model


# Datasets.


def dataset_of(wildcards):
    return EXPERIMENT.datasets[wildcards.dataset]


def data_of(wildcards) -> str:
    """The dataset that is checked: the run's, or the one of several that is named."""
    return wildcards.get("dataset") or EXPERIMENT.runs[wildcards.run].learns_from[0]


def tokens_of(wildcards) -> str:
    return PLAN.run_parts[wildcards.run][data_of(wildcards)]


def places_of(wildcards, output) -> dict:
    """Where the dataset's files lie, and whether the split has to be there. Takes `output`, so that
    Snakemake doesn't compare it."""
    asked = (wildcards.dataset, wildcards.get("split")) in ASKED_SPLITS
    return source_places(dataset_of(wildcards)) | {"asked": asked}


def shown_tokens(tokens: str) -> dict:
    """Who learns from a token set, and the model whose tokens they are."""
    runs = learners_of(PLAN, tokens)
    model = EXPERIMENT.runs[runs[0]].model
    return {"runs": runs, "name": model, "model": LOOKUP.model_settings(model)}


def plan_notes() -> list[str]:
    """What the plan has to say besides its jobs."""
    return [
        *code_notes(EXPERIMENT),
        *kept_notes(EXPERIMENT, Path(E)),
        *smoke_notes(EXPERIMENT),
        *drawn_notes(WRITTEN, CONFIGURED),
        *prompt_notes(EXPERIMENT, PLAN),
        *([] if EXPERIMENT.smoke else power_notes(PLAN, Path(E))),
    ]


# States under protocols.


def cell_of(wildcards) -> Cell:
    return Cell(wildcards.state, wildcards.protocol)


def protocol_of(wildcards):
    return PLAN.protocols[wildcards.protocol]


def examples_of(wildcards) -> str:
    spec = protocol_of(wildcards)
    return f"{E}/data/{spec.dataset}/{spec.split}.parquet"


def chosen_snapshot(run: str) -> str:
    """The folder of the snapshot that was chosen; known once all of them are measured."""
    file = checkpoints.choose.get(run=run).output[0]
    return f"snapshots/{json.loads(Path(file).read_text())['snapshot']}"


def weights_of_run(wildcards) -> list[str]:
    """What a run arrived at: the chosen snapshot's weights, or the final ones."""
    run = wildcards.run
    folder = chosen_snapshot(run) if EXPERIMENT.runs[run].choose else "final"
    return weights_in(f"{E}/train/{run}/{folder}", PLAN.states[run].weights)


def weights_of_state(wildcards) -> list[str]:
    """What lies on top of the state's base model: the snapshot's, the chosen or the final files."""
    if wildcards.state in PLAN.brought_states:
        return []
    state = PLAN.states[wildcards.state]
    if state.weights == "none":
        return []
    if state.exported:
        weights_of_run(state)  # known once a snapshot is chosen, as what is merged is
        return [gguf_file(E, state)]
    if state.snapshot:
        return weights_in(f"{E}/train/{state.run}/snapshots/{state.snapshot}", state.weights)
    return weights_of_run(state)


def predictions_of(wildcards) -> str:
    """The state's predictions. Its weights are asked for first: where a snapshot is yet to be
    chosen, what follows is planned anew after the choice, and finished replies stay judged."""
    weights_of_state(wildcards)
    return f"{E}/predictions/{wildcards.state}/{wildcards.protocol}.jsonl"


# Tables.


def measured(kind: str, ending: str) -> list[str]:
    """The files of a kind of all states under all their protocols."""
    return [f"{E}/{kind}/{state}/{protocol}.{ending}" for state, protocol in PLAN.measured]


def further_tables() -> dict[str, str]:
    """The tables that only some experiments have."""
    return {name: f"{E}/tables/{name}.csv" for name in further_names(TABLE)}


# GPUs as they are granted, so that a job on a cluster asks for what was submitted for it. A job's
# own process was given its threads, and Snakemake holds it to them.

ONE_GPU = 1 if GPUS is None else min(1, GPUS)
ASKED = workflow.resource_settings
# With `jobs` they may run elsewhere: `cores` in the profile is then of no account.
CORES = ASKED.cores if workflow.is_main_process and ASKED.nodes is None else None
THREADS = threads_for(ONE_GPU, CORES, GPUS)


# Memory and time: the config's, else the estimate, and as much again with every further attempt.


def asked_for(request) -> dict:
    """The `mem`, `runtime` and `limit` of jobs by their request, which is worked out once for the
    three."""
    found = {}

    def asked(wildcards):
        key = tuple(wildcards)
        if key not in found:
            found[key] = request(wildcards)
        return found[key]

    return {
        "mem": lambda wildcards, attempt: asked(wildcards).mem(attempt),
        "runtime": lambda wildcards, attempt: asked(wildcards).runtime(attempt),
        "limit": lambda wildcards, attempt: asked(wildcards).limit(attempt),
    }


FOR_EVALUATION = asked_for(
    lambda wildcards: evaluation_request(EXPERIMENT, PLAN, cell_of(wildcards))
)
FOR_HELPER = asked_for(lambda wildcards: helper_request(EXPERIMENT, PLAN, cell_of(wildcards)))
FOR_TRAINING = asked_for(lambda wildcards: training_request(EXPERIMENT, wildcards.run))


def gigabytes(amount: int):
    """Where no model is loaded."""
    return lambda wildcards, attempt: f"{amount * attempt}GB"


def minutes(amount: int):
    return lambda wildcards, attempt: amount * attempt


def note_signatures(rules) -> None:
    """Notes at what the rules call which arguments it takes, where `inspect.signature` looks first.
    Snakemake asks it for every job, several times a function, and it took longer than the calls."""
    for made in rules:
        resources = made.resources.values()
        calls = [getattr(resource, "_evaluator", None) for resource in resources]
        calls += [type(resource).evaluate for resource in resources]
        for call in [*made.input, *made.params, *calls]:
            if isfunction(call):
                call.__signature__ = signature(call)
