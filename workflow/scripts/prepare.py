"""Reads a source for one split, checks every record and writes the split."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    from snaketune.data.prepare import prepare_split
    from snaketune.data.steps import spec_of
    from snaketune.runtime.records import sign

    report = Path(snakemake.output.report)
    prepare_split(
        spec_of(snakemake.params.dataset, snakemake.params.places),
        snakemake.wildcards.split,
        report.parent,
        snakemake.params.dataset["numeric"],
    )
    sign(report, snakemake.params.made_by)
