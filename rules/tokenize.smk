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
        ready=ancient(f"{E}/ready.json"),
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
        model=lambda wildcards: model_params(
            PLAN.tokens[wildcards.tokens].model, "id", "revision", "trust_remote_code"
        ),
        record=lambda wildcards: model_record(PLAN.tokens[wildcards.tokens].model),
        content=lambda wildcards: model_content(PLAN.tokens[wildcards.tokens].model),
        prompt=lambda wildcards: PLAN.tokens[wildcards.tokens].prompt,
        shown=shown_to,
        places=shown_places,
        max_length=lambda wildcards: PLAN.tokens[wildcards.tokens].max_length,
        overlong=lambda wildcards: PLAN.tokens[wildcards.tokens].overlong,
        code=code_of("tokenize_rows.py"),
    script:
        "../workflow/scripts/tokenize_rows.py"
