# Needs: the data and models of the config; the training rows of each run.
# Makes: prompts/{run}.json, that a run is asked as it was trained. `ready` stands for the checks that
# come before anything expensive.
#
# No job takes them as input. They hold all others back while one of them is due
# (workflow/scripts/snaketune/runtime/start.py), and every target that lies behind them takes
# them along, so that one that failed is tried again.

from snaketune.models.content import tokenizer_identity
from snaketune.plan.trained_forms import compared_evals, other_forms

# Before rows are tokenised, and after.
CHECKS = [
    ["manifest", "model", "gguf_model", "adapter", "environment"],
    ["prompts", "prompts_of_part"],
]
# Of a run on several datasets each has a check of its own.
PART_CHECKS = {
    run: [f"{run}-{data}" for data in parts] if len(parts) > 1 else []
    for run, parts in PLAN.run_parts.items()
}
ALONE = [run for run, checks in PART_CHECKS.items() if not checks]
GIVEN_ADAPTERS = [name for name, run in EXPERIMENT.runs.items() if run.adapter]


rule ready:
    """All data, models and prompts are checked and the machine is noted."""
    input:
        manifests=expand(f"{E}/data/{{dataset}}/manifest.json", dataset=EXPERIMENT.datasets),
        models=expand(f"{E}/models/{{model}}.json", model=EXPERIMENT.models),
        exportable=sorted(
            {f"{E}/models/{run.model}.gguf.json" for run in EXPERIMENT.runs.values() if run.gguf}
        ),
        adapters=expand(f"{E}/train/{{run}}/adapter.json", run=GIVEN_ADAPTERS),
        prompts=[
            f"{E}/prompts/{name}.json" for run in TRAINED for name in (PART_CHECKS[run] or [run])
        ],
        environment=f"{E}/environment.json",


rule prompts:
    """Holds a run's training rows against what its evals send: prompts, labels, answers; and what
    made no row against its limit. It is no input of a training: another prompt of an eval trains
    nothing again."""
    input:
        rows=lambda wildcards: f"{E}/tokens/{tokens_of(wildcards)}/train.parquet",
        stats=lambda wildcards: f"{E}/tokens/{tokens_of(wildcards)}/stats.json",
        dropped=lambda wildcards: f"{E}/tokens/{tokens_of(wildcards)}/dropped.jsonl",
        examples=lambda wildcards: f"{E}/data/{data_of(wildcards)}/train.parquet",
        pin=lambda wildcards: model_pin(model_of_run(wildcards)),
    output:
        ensure(f"{E}/prompts/{{run}}.json", non_empty=True),
    log:
        f"{E}/logs/prompts/{{run}}.log",
    wildcard_constraints:
        run=name_pattern(ALONE),
    retries: 0
    conda:
        "../envs/train.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        tokenizer=lambda wildcards: tokenizer_identity(EXPERIMENT.models[model_of_run(wildcards)]),
        model=lambda wildcards, output: LOOKUP.model_settings(model_of_run(wildcards)),
        prompt=lambda wildcards: PLAN.tokens[tokens_of(wildcards)].prompt,
        evals=lambda wildcards: compared_evals(EXPERIMENT, wildcards.run, data_of(wildcards)),
        told=lambda wildcards: other_forms(
            EXPERIMENT, wildcards.run, PLAN.tokens[tokens_of(wildcards)]
        ),
        accept=lambda wildcards: EXPERIMENT.runs[wildcards.run].accept,
        dropped_at_most=lambda wildcards: EXPERIMENT.presets[
            EXPERIMENT.runs[wildcards.run].preset
        ].dropped_at_most,
        version=step_version("check_prompts"),
        made_by=made("check_prompts"),
    script:
        "../workflow/scripts/check_prompts.py"


use rule prompts as prompts_of_part with:
    output:
        ensure(f"{E}/prompts/{{run}}-{{dataset}}.json", non_empty=True),
    log:
        f"{E}/logs/prompts/{{run}}-{{dataset}}.log",
    wildcard_constraints:
        run=name_pattern(set(TRAINED) - {*ALONE}),
        dataset=name_pattern(EXPERIMENT.datasets),
