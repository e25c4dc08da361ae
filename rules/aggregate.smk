# Needs: the metrics and scores of all states, training logs and choices.
# Makes: tables/, the experiment's numbers in one place.


CHOSEN = [name for name, run in EXPERIMENT.runs.items() if run.choose]


rule aggregate:
    """Joins all metrics into tables, compares tuned models with their base on the same rows and
    checks thresholds and totals."""
    input:
        metrics=measured("metrics", "json"),
        scores=measured("scores", "parquet"),
        train_meta=expand(f"{E}/train/{{run}}/train_meta.json", run=TRAINED),
        train_log=expand(f"{E}/train/{{run}}/train_log.parquet", run=TRAINED),
        prediction_meta=measured("predictions", "meta.json"),
        chosen=expand(f"{E}/train/{{run}}/chosen.json", run=CHOSEN),
    output:
        **{
            name: report(
                file,
                caption=f"../workflow/report/{name}.rst",
                category="Tables",
                labels={"table": name.replace("_", " ")},
            )
            for name, file in further_tables().items()
        },
        metrics=f"{E}/tables/metrics.parquet",
        metrics_csv=report(
            f"{E}/tables/metrics.csv",
            caption="../workflow/report/metrics.rst",
            category="Tables",
            labels={"table": "all metrics"},
        ),
        comparisons=report(
            f"{E}/tables/comparisons.csv",
            caption="../workflow/report/comparisons.rst",
            category="Tables",
            labels={"table": "tuned against base"},
        ),
        summary=report(
            f"{E}/tables/summary.csv",
            caption="../workflow/report/summary.rst",
            category="Tables",
            labels={"table": "summary"},
        ),
        checkpoints=report(
            f"{E}/tables/checkpoint_scores.csv",
            caption="../workflow/report/checkpoint_scores.rst",
            category="Tables",
            labels={"table": "snapshots"},
        ),
        final=ensure(f"{E}/tables/final_metrics.json", non_empty=True),
        final_csv=report(
            f"{E}/tables/final_metrics.csv",
            caption="../workflow/report/final_metrics.rst",
            category="Tables",
            labels={"table": "final metrics"},
        ),
    log:
        f"{E}/logs/aggregate.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        table=TABLE.as_json(),
        asked=lambda wildcards: LOOKUP.expected_settings(),
        version=step_version("aggregate"),
        made_by=made("aggregate"),
    script:
        "../workflow/scripts/aggregate.py"
