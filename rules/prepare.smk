# Needs: the sources under `datasets` of the config.
# Makes: data/{dataset}/ with the examples of each split (Parquet for the workflow, CSV and JSON
# lines for people), the few-shot examples, the manifest and the records that were rejected;
# data/leakage/, what a dataset that is evaluated shares with another that is trained on.

from snaketune.config.eval_faults import asks_for_numbers


rule prepare:
    """Checks every record of a source and writes its splits: in = out + rejected."""
    input:
        files=lambda wildcards: DATA_FILES[wildcards.dataset],
        few_shot_file=few_shot_file,
    output:
        train=f"{E}/data/{{dataset}}/train.parquet",
        dev=f"{E}/data/{{dataset}}/dev.parquet",
        test=f"{E}/data/{{dataset}}/test.parquet",
        readable=[
            f"{E}/data/{{dataset}}/{split}.{ending}"
            for split in ("train", "dev", "test")
            for ending in ("csv", "jsonl")
        ],
        few_shot=ensure(f"{E}/data/{{dataset}}/few_shot.json", non_empty=True),
        manifest=ensure(f"{E}/data/{{dataset}}/manifest.json", non_empty=True),
        rejected=f"{E}/data/{{dataset}}/rejected.jsonl",
    log:
        f"{E}/logs/prepare/{{dataset}}.log",
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=60,
    params:
        dataset=lambda wildcards: EXPERIMENT.datasets[wildcards.dataset].model_dump(mode="json"),
        numeric=lambda wildcards: asks_for_numbers(EXPERIMENT, wildcards.dataset),
        version=step_version("prepare"),
        made_by=made("prepare"),
    script:
        "../workflow/scripts/prepare.py"


rule leakage:
    """Looks for the questions that are asked of a dataset among those of another one that a run
    trains on. Within a dataset `prepare` does."""
    input:
        train=f"{E}/data/{{train}}/train.parquet",
        asked=lambda wildcards: [
            f"{E}/data/{wildcards.test}/{split}.parquet"
            for split in PLAN.crossed[wildcards.train, wildcards.test]
        ],
    output:
        ensure(f"{E}/data/leakage/{{train}}-{{test}}.json", non_empty=True),
    log:
        f"{E}/logs/leakage/{{train}}-{{test}}.log",
    wildcard_constraints:
        train=any_of(EXPERIMENT.datasets),
        test=any_of(EXPERIMENT.datasets),
    retries: 0
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        version=step_version("leakage"),
        made_by=made("leakage"),
    script:
        "../workflow/scripts/leakage.py"
