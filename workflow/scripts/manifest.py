"""Checks a dataset as a whole and writes down where it came from and what became of it."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.data.manifest import write_manifest
    from snaketune.data.steps import spec_of
    from snaketune.runtime.content import sign

    write_manifest(
        spec=spec_of(snakemake.params.dataset, snakemake.params.places),
        folder=Path(snakemake.output.manifest).parent,
        left_aside=snakemake.params.left_aside,
    )
    sign(Path(snakemake.output.manifest), snakemake.params.made_by, snakemake.output)
