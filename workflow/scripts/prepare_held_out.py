"""Reads a source for the train split, checks every record and holds the dev split out of it."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    from snaketune.data.prepare import prepare_held_out
    from snaketune.data.steps import spec_of
    from snaketune.runtime.content import sign

    prepare_held_out(
        spec=spec_of(snakemake.params.dataset, snakemake.params.places),
        folder=Path(snakemake.output.train).parent,
        numeric=snakemake.params.dataset["numeric"],
    )
    for report in map(Path, snakemake.output.reports):
        split = [file for file in snakemake.output if Path(file).stem == report.stem]
        sign(report, snakemake.params.made_by, split)
