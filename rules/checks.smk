# Needs: the data and models of the config; the training rows of each run.
# Makes: prompts/{run}.json, that a run is asked as it was trained. `ready` stands for the checks that
# come before anything expensive.
#
# No job takes them as input. They hold all others back while one of them is due
# (workflow/scripts/snaketune/runtime/start.py), and every target that lies behind them takes
# them along, so that one that failed is tried again.

from snaketune.models.content import tokenizer_identity
from snaketune.plan.trained_forms import compared_evals, other_forms

CHECKS = ["manifest", "model", "adapter", "environment", "prompts"]
GIVEN_ADAPTERS = [name for name, run in EXPERIMENT.runs.items() if run.adapter]


rule ready:
    """All data, models and prompts are checked and the machine is noted."""
    input:
        manifests=expand(f"{E}/data/{{dataset}}/manifest.json", dataset=EXPERIMENT.datasets),
        models=expand(f"{E}/models/{{model}}.json", model=EXPERIMENT.models),
        adapters=expand(f"{E}/train/{{run}}/adapter.json", run=GIVEN_ADAPTERS),
        prompts=expand(f"{E}/prompts/{{run}}.json", run=TRAINED),
        environment=f"{E}/environment.json",


rule prompts:
    """Holds a run's training rows against what its evals send: prompts, labels, answers; and what
    made no row against its limit. It is no input of a training: another prompt of an eval trains
    nothing again."""
    input:
        rows=lambda wildcards: f"{E}/tokens/{PLAN.run_tokens[wildcards.run]}/train.parquet",
        stats=lambda wildcards: f"{E}/tokens/{PLAN.run_tokens[wildcards.run]}/stats.json",
        dropped=lambda wildcards: f"{E}/tokens/{PLAN.run_tokens[wildcards.run]}/dropped.jsonl",
        examples=lambda wildcards: f"{E}/data/{EXPERIMENT.runs[wildcards.run].train}/train.parquet",
        pin=lambda wildcards: model_pin(model_of_run(wildcards)),
    output:
        ensure(f"{E}/prompts/{{run}}.json", non_empty=True),
    log:
        f"{E}/logs/prompts/{{run}}.log",
    wildcard_constraints:
        run=name_pattern(TRAINED),
    retries: 0
    conda:
        "../envs/train.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        tokenizer=lambda wildcards: tokenizer_identity(EXPERIMENT.models[model_of_run(wildcards)]),
        model=lambda wildcards, output: LOOKUP.model_settings(model_of_run(wildcards)),
        prompt=lambda wildcards: PLAN.tokens[PLAN.run_tokens[wildcards.run]].prompt,
        evals=lambda wildcards: compared_evals(EXPERIMENT, wildcards.run),
        told=lambda wildcards: other_forms(
            EXPERIMENT, wildcards.run, PLAN.tokens[PLAN.run_tokens[wildcards.run]]
        ),
        accept=lambda wildcards: EXPERIMENT.runs[wildcards.run].accept,
        dropped_at_most=lambda wildcards: EXPERIMENT.presets[
            EXPERIMENT.runs[wildcards.run].preset
        ].dropped_at_most,
        version=step_version("check_prompts"),
        made_by=made("check_prompts"),
    script:
        "../workflow/scripts/check_prompts.py"
