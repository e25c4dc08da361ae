# Needs: the metrics and scores of all states, training logs and choices, the data's manifests.
# Makes: tables/, the experiment's numbers in one place; `gate` judges them.

from snaketune.runtime.content import FINAL_METRICS, earlier_content
from snaketune.plan.table_plan import exported_states

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
        manifests=expand(f"{E}/data/{{dataset}}/manifest.json", dataset=EXPERIMENT.datasets),
        leakage=[f"{E}/data/leakage/{train}-{test}.json" for train, test in PLAN.crossed],
        stats=expand(f"{E}/tokens/{{tokens}}/stats.json", tokens=[*PLAN.tokens, *PLAN.mixtures]),
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
        final=ensure(f"{E}/{FINAL_METRICS}", non_empty=True),
        final_csv=report(
            f"{E}/tables/final_metrics.csv",
            caption="../workflow/report/final_metrics.rst",
            category="Tables",
            labels={"table": "final metrics"},
        ),
        origins=report(
            f"{E}/tables/origins.csv",
            caption="../workflow/report/origins.rst",
            category="Tables",
            labels={"table": "origins"},
        ),
        cost=report(
            f"{E}/tables/cost.csv",
            caption="../workflow/report/cost.rst",
            category="Tables",
            labels={"table": "cost"},
        ),
        gate=[f"{E}/tables/gate.{ending}" for ending in ("json", "xml", "md")],
        results=[f"{E}/tables/results.{ending}" for ending in ("md", "tex")],
        lm_eval=[f"{E}/tables/lm_eval/{state}.json" for state in exported_states(TABLE)],
    log:
        f"{E}/logs/aggregate.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        table=TABLE_ROWS,
        asked=lambda wildcards: LOOKUP.expected_settings(),
        tokens=PLAN.run_tokens,
        gate=EXPERIMENT.gate.model_dump(mode="json", exclude={"always", "against"}),
        # By content, not by place.
        earlier=lambda wildcards: earlier_content(EXPERIMENT.gate.against),
        against=lambda wildcards, output: EXPERIMENT.gate.against,
        version=step_version("aggregate"),
        made_by=made("aggregate"),
    script:
        "../workflow/scripts/aggregate.py"


rule gate:
    """Judges whether the experiment is fit to release, by its thresholds and its `gate`. It makes
    nothing, so that it judges at every call: `snakemake gate`, and with `--config gate=true` at the
    end of every start of all targets."""
    input:
        rules.ready.input,
        lambda wildcards: list(rules.report.output) if EXPERIMENT.gate.always else [],
        gate=f"{E}/tables/gate.json",
    log:
        f"{E}/logs/gate.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    script:
        "../workflow/scripts/gate.py"
