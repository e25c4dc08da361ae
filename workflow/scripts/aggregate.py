"""Makes the tables of an experiment."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.tables.aggregate import aggregate
    from snaketune.tables.sources import read_sources

    names = ("metrics", "scores", "train_meta", "chosen", "train_log", "prediction_meta")
    files = {name: [Path(file) for file in snakemake.input.get(name, [])] for name in names}
    folder = Path(snakemake.output.metrics).parent
    aggregate(snakemake.params.table, read_sources(**files), folder)
