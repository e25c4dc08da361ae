# Needs: tokens/{tokens}/ and the base model.
# Makes: train/{run}/ with the final adapter (PEFT's own format; method full: the model itself), the
# snapshots, the weights that `keep` keeps, the training log and the resource usage; chosen.json,
# which snapshot is best on the dev split.

from snaketune.plan.states import WEIGHT_FILES, part_names

# A rule's outputs must be known from its wildcards, so runs that leave different files (an adapter
# or a whole model, so many snapshots) train by rules of their own with the same body.
for shape in PLAN.training_shapes:
    weights_file, config_file = WEIGHT_FILES[shape.weights]

    rule:
        name:
            f"train_{shape.name}"
        input:
            train=lambda wildcards: f"{E}/tokens/{PLAN.run_tokens[wildcards.run]}/train.parquet",
            dev=lambda wildcards: f"{E}/tokens/{PLAN.run_tokens[wildcards.run]}/dev.parquet",
            pin=lambda wildcards: model_pin(model_of_run(wildcards)),
        output:
            weights=f"{E}/train/{{run}}/final/{weights_file}",
            config=f"{E}/train/{{run}}/final/{config_file}",
            snapshot_weights=[
                f"{E}/train/{{run}}/snapshots/{k}/{weights_file}"
                for k in part_names(shape.snapshots)
            ],
            snapshot_configs=[
                f"{E}/train/{{run}}/snapshots/{k}/{config_file}"
                for k in part_names(shape.snapshots)
            ],
            log=ensure(f"{E}/train/{{run}}/train_log.parquet", non_empty=True),
            meta=ensure(f"{E}/train/{{run}}/train_meta.json", non_empty=True),
        log:
            f"{E}/logs/train/{{run}}.log",
        benchmark:
            f"{E}/benchmarks/train/{{run}}.jsonl"
        wildcard_constraints:
            run=name_pattern(shape.runs),
        conda:
            "../envs/train.yaml"
        threads: lambda wildcards: threads_for(EXPERIMENT.runs[wildcards.run].gpu, CORES, GPUS)
        resources:
            **FOR_TRAINING,
            gpu=lambda wildcards: EXPERIMENT.runs[wildcards.run].gpu,
        params:
            settings=lambda wildcards: LOOKUP.training_identity(wildcards.run),
            model=lambda wildcards, output: LOOKUP.model_settings(model_of_run(wildcards)),
            work=f"{E}/.work/train/{{run}}",
            # Changes no result.
            aside=lambda wildcards, output: LOOKUP.training_aside(wildcards.run),
            version=step_version("train"),
            made_by=made("train"),
        script:
            "../workflow/scripts/train.py"


rule adapter:
    """Takes an adapter that was trained elsewhere, from a folder or the hub, and checks that it
    fits its base."""
    input:
        pin=lambda wildcards: model_pin(model_of_run(wildcards)),
        # Only where it is made here: else its content is a param.
        files=lambda wildcards: LOOKUP.adapter_made_here(wildcards.run),
    output:
        weights=f"{E}/train/{{run}}/final/adapter_model.safetensors",
        config=f"{E}/train/{{run}}/final/adapter_config.json",
        record=ensure(f"{E}/train/{{run}}/adapter.json", non_empty=True),
    log:
        f"{E}/logs/adapter/{{run}}.log",
    wildcard_constraints:
        run=name_pattern(name for name, run in EXPERIMENT.runs.items() if run.adapter),
    conda:
        "../envs/train.yaml"
    resources:
        mem="4GB",
        runtime=60,
    params:
        identity=lambda wildcards: LOOKUP.adapter_identity(wildcards.run),
        base=lambda wildcards: LOOKUP.adapter_base(wildcards.run),
        model=lambda wildcards, output: LOOKUP.model_settings(model_of_run(wildcards)),
        source=lambda wildcards, output: EXPERIMENT.runs[wildcards.run].adapter,
        revision=lambda wildcards, output: EXPERIMENT.runs[wildcards.run].adapter_revision,
        version=step_version("fetch_adapter"),
        made_by=made("fetch_adapter"),
    script:
        "../workflow/scripts/fetch_adapter.py"


# A checkpoint, so that another metric that leaves the choice as it was regenerates no text.
checkpoint choose:
    """Takes the snapshot that scored best on the dev split; ties: the earliest."""
    input:
        metrics=lambda wildcards: LOOKUP.snapshot_metrics(wildcards.run),
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
