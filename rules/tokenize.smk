# Needs: data/{dataset}/ of the run's training data and of that whose few-shot examples its evals
# show, and the model's tokenizer.
# Makes: tokens/{tokens}/ with rows of input_ids and labels, length statistics and a histogram.
# Runs that agree in model, data, prompt and limits share them. Of a run on several datasets the rows
# of each, and in a folder of their own all of them, each as often as its weight says.

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
    wildcard_constraints:
        tokens=name_pattern(PLAN.tokens),
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


rule mix:
    """Joins the rows of several datasets, and counts what each is in an epoch."""
    input:
        rows=lambda wildcards: [
            f"{E}/tokens/{tokens}/{name}"
            for tokens in PLAN.mixtures[wildcards.tokens].tokens
            for name in ("train.parquet", "dev.parquet", "lengths.json", "dropped.jsonl")
        ],
        stats=lambda wildcards: [
            f"{E}/tokens/{tokens}/stats.json" for tokens in PLAN.mixtures[wildcards.tokens].tokens
        ],
    output:
        train=f"{E}/tokens/{{tokens}}/train.parquet",
        dev=f"{E}/tokens/{{tokens}}/dev.parquet",
        stats=ensure(f"{E}/tokens/{{tokens}}/stats.json", non_empty=True),
        lengths=ensure(f"{E}/tokens/{{tokens}}/lengths.json", non_empty=True),
        dropped=f"{E}/tokens/{{tokens}}/dropped.jsonl",
    log:
        f"{E}/logs/mix/{{tokens}}.log",
    wildcard_constraints:
        tokens=name_pattern(PLAN.mixtures),
    retries: 0
    conda:
        "../envs/train.yaml"
    resources:
        mem=gigabytes(8),
        runtime=minutes(30),
    params:
        parts=lambda wildcards: PLAN.mixtures[wildcards.tokens].settings,
        seed=lambda wildcards: PLAN.mixtures[wildcards.tokens].seed,
        version=step_version("mix_rows"),
        made_by=made("mix_rows"),
    script:
        "../workflow/scripts/mix_rows.py"
