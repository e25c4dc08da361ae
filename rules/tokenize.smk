# Needs: data/{dataset}/ of the run's training data and of that whose few-shot examples its evals
# show, and the model's tokenizer.
# Makes: tokens/{tokens}/ with rows of input_ids and labels, length statistics and a histogram.
# Runs that agree in model, data, prompt and limits share them.

from snaketune.models.content import tokenizer_identity


rule tokenize:
    """Renders, tokenises and masks training rows; a row without a verified mask is left out."""
    input:
        unpack(lambda wildcards: LOOKUP.shown_files(wildcards.tokens)),
        train=lambda wildcards: f"{E}/data/{PLAN.tokens[wildcards.tokens].dataset}/train.parquet",
        dev=lambda wildcards: f"{E}/data/{PLAN.tokens[wildcards.tokens].dataset}/dev.parquet",
        pin=lambda wildcards: model_pin(PLAN.tokens[wildcards.tokens].model),
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
            EXPERIMENT.models[PLAN.tokens[wildcards.tokens].model]
        ),
        model=lambda wildcards, output: LOOKUP.model_settings(PLAN.tokens[wildcards.tokens].model),
        prompt=lambda wildcards: PLAN.tokens[wildcards.tokens].prompt,
        shown=lambda wildcards: LOOKUP.shown_with_tokens(wildcards.tokens),
        # Takes `output`, so that Snakemake doesn't compare it.
        places=lambda wildcards, output: LOOKUP.shown_places(wildcards.tokens),
        max_length=lambda wildcards: PLAN.tokens[wildcards.tokens].max_length,
        overlong=lambda wildcards: PLAN.tokens[wildcards.tokens].overlong,
        version=step_version("tokenize"),
        made_by=made("tokenize"),
    script:
        "../workflow/scripts/tokenize_rows.py"
