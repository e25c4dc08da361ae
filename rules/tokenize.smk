# Needs: data/{dataset}/ of the run's training data and of that whose few-shot examples its evals
# show, and the model's tokenizer.
# Makes: tokens/{tokens}/ with rows of input_ids and labels, length statistics and a histogram.
# Runs that agree in model, data, prompt and limits share them.

from snaketune.data import steps
from snaketune.models.content import tokenizer_identity


def tokens_of(wildcards):
    return PLAN.tokens[wildcards.tokens]


def shown_from(wildcards) -> dict[str, list[str]]:
    """By dataset: the training records that few-shot examples are drawn from."""
    return {
        f"shown_{name}": training_files(name)
        for name, spec in LOOKUP.few_shot_of_tokens(wildcards.tokens).items()
        if spec.few_shot.file is None
    }


def shown_places(wildcards, output) -> dict[str, dict]:
    """Where the files of these datasets lie. Takes `output`, so that Snakemake doesn't compare
    it."""
    shown = LOOKUP.few_shot_of_tokens(wildcards.tokens)
    return {name: steps.source_places(spec) for name, spec in shown.items()}


rule tokenize:
    """Renders, tokenises and masks training rows; a row without a verified mask is left out."""
    input:
        unpack(shown_from),
        train=lambda wildcards: f"{E}/data/{tokens_of(wildcards).dataset}/train.parquet",
        dev=lambda wildcards: f"{E}/data/{tokens_of(wildcards).dataset}/dev.parquet",
        pin=lambda wildcards: model_pin(tokens_of(wildcards).model),
    output:
        train=f"{E}/tokens/{{tokens}}/train.parquet",
        dev=f"{E}/tokens/{{tokens}}/dev.parquet",
        stats=ensure(f"{E}/tokens/{{tokens}}/stats.json", non_empty=True),
        lengths=ensure(f"{E}/tokens/{{tokens}}/lengths.json", non_empty=True),
        dropped=f"{E}/tokens/{{tokens}}/dropped.jsonl",
    log:
        f"{E}/logs/tokenize/{{tokens}}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem=gigabytes(8),
        runtime=minutes(120),
    params:
        tokenizer=lambda wildcards: tokenizer_identity(
            EXPERIMENT.models[tokens_of(wildcards).model]
        ),
        model=lambda wildcards, output: LOOKUP.model_settings(tokens_of(wildcards).model),
        prompt=lambda wildcards: tokens_of(wildcards).prompt,
        shown=lambda wildcards: LOOKUP.shown_with_tokens(wildcards.tokens),
        places=shown_places,
        max_length=lambda wildcards: tokens_of(wildcards).max_length,
        overlong=lambda wildcards: tokens_of(wildcards).overlong,
        version=step_version("tokenize"),
        made_by=made("tokenize"),
    script:
        "../workflow/scripts/tokenize_rows.py"
