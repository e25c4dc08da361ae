# Needs: predictions, their examples and, for safety, verdicts; for samples, their rewards.
# Makes: scores/{state}/{protocol}.parquet, a row an example, and metrics/{state}/{protocol}.json.


rule measure:
    """Scores every example and counts; neither a model nor a GPU is needed."""
    input:
        predictions=predictions_of,
        meta=f"{E}/predictions/{{state}}/{{protocol}}.meta.json",
        examples=examples_of,
        verdicts=lambda wildcards: LOOKUP.verdicts(cell_of(wildcards)),
        rewards=lambda wildcards: LOOKUP.rewards(cell_of(wildcards)),
    output:
        scores=ensure(f"{E}/scores/{{state}}/{{protocol}}.parquet", non_empty=True),
        metrics=ensure(f"{E}/metrics/{{state}}/{{protocol}}.json", non_empty=True),
    log:
        f"{E}/logs/measure/{{state}}/{{protocol}}.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        eval=lambda wildcards: PLAN.eval_of[wildcards.protocol],
        protocol=lambda wildcards: LOOKUP.protocol_settings(wildcards.protocol),
        version=step_version("measure"),
        made_by=made("measure"),
    script:
        "../workflow/scripts/measure.py"
