"""Joins the parts of an eval that ran as several jobs."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    from snaketune.inference.jobs import join_shards
    from snaketune.runtime.records import sign

    join_shards(
        [Path(f) for f in snakemake.input.parts],
        [Path(f) for f in snakemake.input.metas],
        Path(snakemake.output.joined),
        Path(snakemake.output.meta),
    )
    sign(Path(snakemake.output.meta), snakemake.params.made_by)
