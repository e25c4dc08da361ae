"""Reads a source for one split, checks every record and writes the split."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.data.prepare import prepare_split
    from snaketune.data.steps import spec_of
    from snaketune.runtime.content import sign

    report = Path(snakemake.output.report)
    prepare_split(
        spec=spec_of(snakemake.params.dataset, snakemake.params.places),
        split=snakemake.wildcards.split,
        folder=report.parent,
        numeric=snakemake.params.dataset["numeric"],
        asked=snakemake.params.places["asked"],
    )
    sign(report, snakemake.params.made_by, snakemake.output)
