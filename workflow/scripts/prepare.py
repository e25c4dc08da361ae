"""Reads a dataset's source, checks every record and writes its splits."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.config.dataset import DatasetSpec
    from snaketune.data.prepare import prepare

    spec = DatasetSpec.model_validate(snakemake.params.dataset)
    prepare(spec, Path(snakemake.output.manifest).parent, snakemake.params.numeric)
