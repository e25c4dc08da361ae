"""Joins the training rows of several datasets, each as often as its weight says."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.prompts.mixture import MixedRows, mix_rows
    from snaketune.runtime.content import sign

    params = snakemake.params
    files = zip(params.parts, snakemake.input.stats, strict=True)
    mix_rows(
        parts=[
            MixedRows(part["dataset"], Path(stats).parent, part["weight"], part["rows"])
            for part, stats in files
        ],
        seed=params.seed,
        folder=Path(snakemake.output.train).parent,
    )
    sign(
        Path(snakemake.output.stats),
        params.made_by,
        snakemake.output,
        parts=params.parts,
        seed=params.seed,
    )
