"""Draws the figures and writes the report's page."""

from pathlib import Path

from snaketune.runtime.job import job

behind = [file for files in snakemake.params.behind.values() for file in files]

with job(snakemake.log[0], reads=[*snakemake.input, *behind]):
    from snaketune.plan.table_plan import TablePlan
    from snaketune.report.page import write_report
    from snaketune.report.sources import ReportInputs
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    one = ("final", "comparisons", "checkpoints", "environment", "gate", "cost")
    many = ("manifests", "leakage", "stats", "lengths", "models", "adapters")
    files = {name: Path(snakemake.input[name]) for name in one}
    files |= {name: [Path(file) for file in snakemake.input.get(name, [])] for name in many}
    files |= {name: list(map(Path, found)) for name, found in snakemake.params.behind.items()}
    further = ("epoch_results", "summary_results", "before_after")
    further += ("confusion", "wrong_predictions", "voting", "unique_answers", "drops", "sweep")
    further += ("seeds",)
    files |= {name: Path(found) for name in further if (found := snakemake.input.get(name))}
    html = Path(snakemake.output.html)
    files["requests"] = html.parent / ".work" / "requests.json"
    table = TablePlan.from_json(snakemake.params.table)
    write_report(
        plan=table,
        inputs=ReportInputs(**files),
        labels=snakemake.params.labels,
        html=html,
        figures=html.parent / "figures",
        at_least=snakemake.params.at_least,
    )
    write_json(Path(snakemake.output.record), {"experiment": table.experiment})
    sign(Path(snakemake.output.record), snakemake.params.made_by)
