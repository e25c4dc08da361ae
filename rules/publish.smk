# Needs: a run's weights and, for a card, the experiment's tables.
# Makes: merged/{run}/, the adapter merged into its base, gguf/{run}/{run}-{kind}.gguf, that as one file
# for llama.cpp, and pushed/{run}.json, what was uploaded.
# Of these only what a run's `gguf` names is part of `all`, which evaluates it: ask for `merge_all`,
# `gguf_all` or `push_all`, or for one of the files.

from snaketune.plan.resources import merging_request

PUSHED = [name for name, run in EXPERIMENT.runs.items() if run.push]
MERGED = [n for n, run in EXPERIMENT.runs.items() if not (run.predictions or run.alone)]


localrules:
    merge_all,
    gguf_all,
    push,
    push_all,


rule merge_all:
    """Every run's adapter merged into its base."""
    input:
        rules.ready.input,
        expand(f"{E}/merged/{{run}}", run=MERGED),


rule merge:
    """Merges a run's chosen adapter onto the weights that it was trained on."""
    input:
        weights=weights_of_run,
        pin=lambda wildcards: model_pin(model_of_run(wildcards)),
    output:
        folder=directory(f"{E}/merged/{{run}}"),
        meta=ensure(f"{E}/merged/{{run}}.json", non_empty=True),
    log:
        f"{E}/logs/merge/{{run}}.log",
    wildcard_constraints:
        run=name_pattern(MERGED),
    conda:
        "../envs/train.yaml"
    threads: THREADS
    resources:
        gpu=ONE_GPU,
        mem=lambda wildcards, attempt: merging_request(EXPERIMENT, wildcards.run).mem(attempt),
        runtime=minutes(60),
    params:
        identity=lambda wildcards: LOOKUP.state_identity(PLAN.states[wildcards.run]),
        state=lambda wildcards, output: LOOKUP.state_settings(PLAN.states[wildcards.run]),
        version=step_version("merge"),
        made_by=made("merge"),
    script:
        "../workflow/scripts/merge.py"


rule gguf_all:
    """Every file that a run's `gguf` names, not evaluated."""
    input:
        rules.ready.input,
        [gguf_file(E, PLAN.states[name]) for name in PLAN.exported_states],


rule gguf:
    """Writes a run's merged model as one file for llama.cpp."""
    input:
        folder=f"{E}/merged/{{run}}",
        merged=f"{E}/merged/{{run}}.json",
    output:
        file=ensure(f"{E}/gguf/{{run}}/{{run}}-{{kind}}.gguf", non_empty=True),
        meta=ensure(f"{E}/gguf/{{run}}/{{run}}-{{kind}}.json", non_empty=True),
    log:
        f"{E}/logs/gguf/{{run}}-{{kind}}.log",
    wildcard_constraints:
        run=name_pattern(MERGED),
        kind="f16|bf16|q8_0",
    conda:
        "../envs/gguf.yaml"
    threads: THREADS
    resources:
        mem=lambda wildcards, attempt: merging_request(EXPERIMENT, wildcards.run).mem(attempt),
        runtime=minutes(60),
    params:
        name=lambda wildcards: f"{EXPERIMENT.experiment}-{wildcards.run}",
        version=step_version("export_gguf"),
        made_by=made("export_gguf"),
    script:
        "../workflow/scripts/export_gguf.py"


rule push_all:
    """Uploads every run that has a `push`."""
    input:
        rules.ready.input,
        expand(f"{E}/pushed/{{run}}.json", run=PUSHED),


rule push:
    """Uploads a run's adapter, or its merged model, and a model card. The token comes from the
    environment."""
    input:
        # A list even of one: the script goes through it, and would go through a name's characters.
        files=lambda wildcards: (
            [f"{E}/merged/{wildcards.run}"]
            if LOOKUP.pushed_whole(wildcards.run)
            else weights_of_run(wildcards)
        ),
        final=f"{E}/{FINAL_METRICS}",
        comparisons=f"{E}/tables/comparisons.csv",
        base=lambda wildcards: f"{E}/models/{model_of_run(wildcards)}.json",
    output:
        ensure(f"{E}/pushed/{{run}}.json", non_empty=True),
    log:
        f"{E}/logs/push/{{run}}.log",
    wildcard_constraints:
        run=name_pattern(PUSHED),
    conda:
        "../envs/data.yaml"
    params:
        run=lambda wildcards: wildcards.run,
        push=lambda wildcards: EXPERIMENT.runs[wildcards.run].push.model_dump(mode="json"),
        about=lambda wildcards: LOOKUP.about_run(wildcards.run),
        version=step_version("push"),
        made_by=made("push"),
    script:
        "../workflow/scripts/push.py"
