"""Makes the tables of an experiment."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.plan.table_plan import TablePlan
    from snaketune.runtime.content import sign
    from snaketune.tables.accounting import require_whole_chain
    from snaketune.tables.aggregate import aggregate
    from snaketune.tables.sources import read_sources, require_config_settings

    names = ("metrics", "scores", "train_meta", "chosen", "train_log", "prediction_meta")
    names += ("manifests", "leakage", "stats")
    files = {name: [Path(file) for file in snakemake.input.get(name, [])] for name in names}
    folder, params = Path(snakemake.output.metrics).parent, snakemake.params
    sources = read_sources(**files, tokens=params.tokens)
    require_config_settings(params.asked, sources)
    plan = TablePlan.from_json(params.table)
    require_whole_chain(plan, sources)
    gate = {**params.gate, "against": params.against}
    aggregate(plan=plan, sources=sources, folder=folder, gate=gate)
    sign(Path(snakemake.output.final), params.made_by, snakemake.output)
