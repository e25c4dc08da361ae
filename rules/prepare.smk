# Needs: the sources under `datasets` of the config. Their content is a param and their paths are
# not: a file that was touched, moved or checked out anew makes nothing run again, a changed byte
# does.
# Makes: data/{dataset}/ with the examples of each split (Parquet for the workflow, CSV and JSON
# lines for people) and a report on it, the few-shot examples, the manifest and the records that
# were rejected; data/leakage/, what a dataset that is evaluated shares with another that is trained
# on.

from snaketune.config.eval_checks import shows_options
from snaketune.data import steps
from snaketune.data.locate import left_aside

HELD_OUT = [name for name, spec in EXPERIMENT.datasets.items() if spec.dev]


# Dev is held out of train: one job makes both.
ruleorder: prepare_held_out > prepare


rule prepare:
    """Checks every record of a split and writes it: in = out + rejected."""
    input:
        # Only where a test split is to have nothing of the others.
        others=lambda wildcards: LOOKUP.compared_with(wildcards.dataset, wildcards.split),
    output:
        examples=f"{E}/data/{{dataset}}/{{split}}.parquet",
        readable=multiext(f"{E}/data/{{dataset}}/{{split}}", ".csv", ".jsonl"),
        report=ensure(f"{E}/data/{{dataset}}/{{split}}.json", non_empty=True),
    log:
        f"{E}/logs/prepare/{{dataset}}/{{split}}.log",
    wildcard_constraints:
        split="train|dev|test",
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=60,
    params:
        dataset=lambda wildcards: steps.split_settings(
            dataset_of(wildcards), [wildcards.split], LOOKUP.numeric(wildcards.dataset)
        ),
        content=lambda wildcards: steps.split_content(dataset_of(wildcards), [wildcards.split]),
        places=places_of,
        version=step_version("prepare"),
        made_by=made("prepare"),
    script:
        "../workflow/scripts/prepare.py"


rule prepare_held_out:
    """Does the same for a train split and the dev split that is held out of it, which has none of
    the few-shot examples."""
    output:
        train=f"{E}/data/{{dataset}}/train.parquet",
        dev=f"{E}/data/{{dataset}}/dev.parquet",
        readable=multiext(
            f"{E}/data/{{dataset}}/", "train.csv", "train.jsonl", "dev.csv", "dev.jsonl"
        ),
        reports=ensure(multiext(f"{E}/data/{{dataset}}/", "train.json", "dev.json"), non_empty=True),
    log:
        f"{E}/logs/prepare/{{dataset}}/train_and_dev.log",
    wildcard_constraints:
        dataset=name_pattern(HELD_OUT),
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=60,
    params:
        dataset=lambda wildcards: steps.held_out_settings(
            dataset_of(wildcards), LOOKUP.numeric(wildcards.dataset)
        ),
        content=lambda wildcards: steps.split_content(dataset_of(wildcards), ["train", "dev"]),
        few_shot=lambda wildcards: steps.few_shot_content(dataset_of(wildcards)),
        places=places_of,
        version=step_version("prepare_held_out"),
        made_by=made("prepare_held_out"),
    script:
        "../workflow/scripts/prepare_held_out.py"


rule few_shot:
    """Draws the few-shot examples from all training records, or reads the user's own."""
    input:
        lambda wildcards: LOOKUP.training_files(wildcards.dataset),
    output:
        examples=ensure(f"{E}/data/{{dataset}}/few_shot.json", non_empty=True),
        meta=ensure(f"{E}/data/{{dataset}}/few_shot.meta.json", non_empty=True),
    log:
        f"{E}/logs/few_shot/{{dataset}}.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        dataset=lambda wildcards: steps.few_shot_settings(
            dataset_of(wildcards),
            LOOKUP.numeric(wildcards.dataset),
            shows_options(EXPERIMENT, wildcards.dataset),
        ),
        content=lambda wildcards: steps.few_shot_content(dataset_of(wildcards)),
        places=places_of,
        version=step_version("few_shot"),
        made_by=made("few_shot"),
    script:
        "../workflow/scripts/few_shot.py"


rule manifest:
    """Checks the dataset as a whole: how much was rejected, the catalogue, what splits share."""
    input:
        multiext(
            f"{E}/data/{{dataset}}/",
            *[
                f"{split}.{end}"
                for split in ("train", "dev", "test")
                for end in ("parquet", "json")
            ],
        ),
        few_shot=f"{E}/data/{{dataset}}/few_shot.json",
    output:
        manifest=ensure(f"{E}/data/{{dataset}}/manifest.json", non_empty=True),
        rejected=f"{E}/data/{{dataset}}/rejected.jsonl",
    log:
        f"{E}/logs/manifest/{{dataset}}.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        dataset=lambda wildcards: steps.manifest_settings(dataset_of(wildcards)),
        catalogue=lambda wildcards: steps.catalogue_content(dataset_of(wildcards)),
        few_shot=lambda wildcards: steps.few_shot_content(dataset_of(wildcards)),
        left_aside=lambda wildcards: left_aside(dataset_of(wildcards)),
        places=places_of,
        version=step_version("manifest"),
        made_by=made("manifest"),
    script:
        "../workflow/scripts/manifest.py"


rule leakage:
    """Looks for the questions that are asked of a dataset among those of another one that a run
    trains on. Within a dataset `manifest` does."""
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
        train=name_pattern(EXPERIMENT.datasets),
        test=name_pattern(EXPERIMENT.datasets),
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
