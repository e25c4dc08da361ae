# Needs: tokens/{tokens}/ and the base model.
# Makes: train/{run}/ with the final adapter (PEFT's own format; method full: the model itself), the
# snapshots, the weights that `keep` keeps, the training log and what it took; chosen.json, which snapshot is best on the dev split.


# A rule's outputs must be known from its wildcards, so runs that leave different files (an adapter
# or a whole model, so many snapshots) train by rules of their own with the same body.
for kind, count, keeps, runs in PLAN.training_shapes:

    rule:
        name:
            f"train_{kind}_{count}{'_kept' if keeps else ''}"
        input:
            train=run_tokens("train"),
            dev=run_tokens("dev"),
            pin=lambda wildcards: model_pin(run_model(wildcards)),
        output:
            weights=f"{E}/train/{{run}}/final/{WEIGHTS[kind][0]}",
            config=f"{E}/train/{{run}}/final/{WEIGHTS[kind][1]}",
            snapshot_weights=[
                f"{E}/train/{{run}}/snapshots/{k}/{WEIGHTS[kind][0]}" for k in snapshots(count)
            ],
            snapshot_configs=[
                f"{E}/train/{{run}}/snapshots/{k}/{WEIGHTS[kind][1]}" for k in snapshots(count)
            ],
            kept=[directory(f"{E}/train/{{run}}/kept")] if keeps else [],
            log=ensure(f"{E}/train/{{run}}/train_log.parquet", non_empty=True),
            meta=ensure(f"{E}/train/{{run}}/train_meta.json", non_empty=True),
        log:
            f"{E}/logs/train/{{run}}.log",
        benchmark:
            f"{E}/benchmarks/train/{{run}}.jsonl"
        wildcard_constraints:
            run=any_of(runs),
        conda:
            "../envs/train.yaml"
        threads: training_threads
        resources:
            gpu=training_gpus,
            mem=training_memory,
            runtime=training_minutes,
        params:
            settings=lambda wildcards: training_settings(wildcards.run),
            model=lambda wildcards, output: model_fields(run_model(wildcards)),
            work=f"{E}/.work/train/{{run}}",
            # Changes no result.
            aside=lambda wildcards, output: {
                "keep": run_preset(wildcards).keep,
                "report_to": EXPERIMENT.runs[wildcards.run].report_to,
                "project": Path(E).name,
            },
            version=step_version("train"),
            made_by=made("train"),
        script:
            "../workflow/scripts/train.py"


rule adapter:
    """Takes an adapter that was trained elsewhere, from a folder or the hub."""
    input:
        # Only where it is made here: else its content is a param.
        files=lambda wildcards: adapter_made_here(wildcards.run),
    output:
        weights=f"{E}/train/{{run}}/final/adapter_model.safetensors",
        config=f"{E}/train/{{run}}/final/adapter_config.json",
        record=ensure(f"{E}/train/{{run}}/adapter.json", non_empty=True),
    log:
        f"{E}/logs/adapter/{{run}}.log",
    wildcard_constraints:
        run=any_of(name for name, run in EXPERIMENT.runs.items() if run.adapter),
    conda:
        "../envs/train.yaml"
    resources:
        mem="4GB",
        runtime=60,
    params:
        identity=lambda wildcards: adapter_identity(wildcards.run),
        source=lambda wildcards, output: EXPERIMENT.runs[wildcards.run].adapter,
        revision=lambda wildcards, output: EXPERIMENT.runs[wildcards.run].adapter_revision,
        version=step_version("fetch_adapter"),
        made_by=made("fetch_adapter"),
    script:
        "../workflow/scripts/fetch_adapter.py"


# A checkpoint, so that another metric that leaves the choice as it was regenerates no text.
checkpoint choose:
    """Takes the snapshot that scored best on the dev split; of equal ones the earliest."""
    input:
        metrics=snapshot_metrics,
    output:
        ensure(f"{E}/train/{{run}}/chosen.json", non_empty=True),
    log:
        f"{E}/logs/choose/{{run}}.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    params:
        choose=lambda wildcards: EXPERIMENT.runs[wildcards.run].choose,
        snapshots=lambda wildcards: [
            row.snapshot for row in PLAN.run_table[wildcards.run].snapshots
        ],
        version=step_version("choose"),
        made_by=made("choose"),
    script:
        "../workflow/scripts/choose.py"
