# Needs: the tables and what lies behind them.
# Makes: report.html, one page that needs no network, its figures as files, of every eval
# examples/{eval}.html and .csv, every example with all replies, and of sampled evals
# failures/{eval}.html and .txt, every missed question in full.

from snaketune.plan.table_plan import example_names, failure_names, figure_names

TOKENS = list(PLAN.tokens)

# What the tables were made from. It changes with them, so it is no input of its own: the plan of a
# large sweep is smaller for it, and `--batch aggregate=1/10` plans a part.
BEHIND = {
    "metrics": measured("metrics", "json"),
    "scores": measured("scores", "parquet"),
    "prediction_meta": measured("predictions", "meta.json"),
    "verdict_meta": [f for cell in PLAN.measured for f in LOOKUP.verdicts(cell, "meta.json")],
    "reward_meta": [f for cell in PLAN.measured for f in LOOKUP.rewards(cell, "meta.json")],
    "train_meta": expand(f"{E}/train/{{run}}/train_meta.json", run=TRAINED),
    "train_log": expand(f"{E}/train/{{run}}/train_log.parquet", run=TRAINED),
}


# What says of itself which code made it. (Uploads are never made again by themselves.)
RECORDS = [
    *rules.ready.input,
    *expand(
        f"{E}/data/{{dataset}}/{{record}}.json",
        dataset=EXPERIMENT.datasets,
        record=["train", "dev", "test", "few_shot.meta"],
    ),
    *(f"{E}/data/leakage/{train}-{test}.json" for train, test in PLAN.crossed),
    *(model_pin(name) for name in EXPERIMENT.models),
    *rules.aggregate.input.train_meta,
    *rules.aggregate.input.chosen,
    *(file for files in BEHIND.values() for file in files if file.endswith(".json")),
    *(f"{E}/tokens/{tokens}/stats.json" for tokens in TOKENS),
    f"{E}/{FINAL_METRICS}",
    f"{E}/report.json",
    *(f"{E}/merged/{run}.json" for run in EXPERIMENT.runs),
    *(f"{gguf_file(E, PLAN.states[name])[:-4]}json" for name in EXPORTED),
]

# What is made again in the place of a joined file: its parts, which are gone.
PARTS = {
    f"{E}/predictions/{cell.state}/{cell.protocol}.meta.json": LOOKUP.shards(cell, "meta.json")
    for cell in PLAN.measured
    if cell.protocol in SHARDED and cell.state in PLAN.states
}


rule report:
    """Draws the figures and writes the page."""
    input:
        **further_tables(),
        final=f"{E}/{FINAL_METRICS}",
        gate=f"{E}/tables/gate.json",
        cost=f"{E}/tables/cost.csv",
        comparisons=f"{E}/tables/comparisons.csv",
        checkpoints=f"{E}/tables/checkpoint_scores.csv",
        manifests=expand(f"{E}/data/{{dataset}}/manifest.json", dataset=EXPERIMENT.datasets),
        leakage=[f"{E}/data/leakage/{train}-{test}.json" for train, test in PLAN.crossed],
        stats=expand(f"{E}/tokens/{{tokens}}/stats.json", tokens=TOKENS),
        lengths=expand(f"{E}/tokens/{{tokens}}/lengths.json", tokens=TOKENS),
        models=expand(f"{E}/models/{{model}}.json", model=EXPERIMENT.models),
        adapters=expand(f"{E}/train/{{run}}/adapter.json", run=GIVEN_ADAPTERS),
        environment=f"{E}/environment.json",
    output:
        html=report(
            f"{E}/report.html",
            caption="../workflow/report/page.rst",
            category="Report",
            labels={"page": "report"},
        ),
        figures=[
            report(
                f"{E}/figures/{figure['name']}.svg",
                caption=f"../workflow/report/{figure['kind']}.rst",
                category=figure["category"],
                labels=figure["labels"],
            )
            for figure in figure_names(TABLE)
        ],
        examples=[
            f"{E}/examples/{name}.{ending}"
            for name in example_names(TABLE)
            for ending in ("html", "csv")
        ],
        failures=[
            report(
                f"{E}/failures/{name}.html",
                caption="../workflow/report/failures.rst",
                category="Results",
                labels={"page": f"{name}: failures"},
            )
            for name in failure_names(TABLE)
        ],
        texts=[f"{E}/failures/{name}.txt" for name in failure_names(TABLE)],
        record=f"{E}/report.json",
    log:
        f"{E}/logs/report.log",
    retries: 0
    conda:
        "../envs/data.yaml"
    resources:
        mem="4GB",
        runtime=30,
    params:
        table=TABLE_ROWS,
        behind=BEHIND,
        labels={name: run.label for name, run in EXPERIMENT.runs.items() if run.label},
        at_least={
            protocol: spec.sampling.unique_at_least
            for protocol, spec in PLAN.protocols.items()
            if spec.sampling
        },
        version=step_version("report"),
        made_by=made("report"),
    script:
        "../workflow/scripts/report.py"
