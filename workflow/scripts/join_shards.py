"""Joins the parts of an eval that ran as several jobs."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.inference.shards import join_shards
    from snaketune.runtime.content import sign

    join_shards(
        parts=[Path(f) for f in snakemake.input.parts],
        metas=[Path(f) for f in snakemake.input.metas],
        joined=Path(snakemake.output.joined),
        meta=Path(snakemake.output.meta),
    )
    sign(Path(snakemake.output.meta), snakemake.params.made_by, snakemake.output)
