# Needs: data/{dataset}/ of the run's training data and of that whose few-shot examples its evals
# show, and the model's tokenizer.
# Makes: tokens/{tokens}/ with rows of input_ids and labels, length statistics and a histogram.
# Runs that agree in model, data, prompt and limits share them.


rule tokenize:
    """Renders, tokenises and masks training rows; a row without a verified mask is left out."""
    input:
        unpack(shown_from),
        train=tokens_data("train.parquet"),
        dev=tokens_data("dev.parquet"),
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
        model=lambda wildcards, output: model_fields(PLAN.tokens[wildcards.tokens].model),
        prompt=lambda wildcards: PLAN.tokens[wildcards.tokens].prompt,
        shown=shown_to,
        places=shown_places,
        max_length=lambda wildcards: PLAN.tokens[wildcards.tokens].max_length,
        overlong=lambda wildcards: PLAN.tokens[wildcards.tokens].overlong,
        version=step_version("tokenize"),
        made_by=made("tokenize"),
    script:
        "../workflow/scripts/tokenize_rows.py"
