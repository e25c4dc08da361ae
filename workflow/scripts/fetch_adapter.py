"""Takes an adapter that was trained elsewhere."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.modeling.adapter_source import fetch_adapter

    fetch_adapter(
        snakemake.params.adapter,
        snakemake.params.revision,
        Path(snakemake.output.weights),
        Path(snakemake.output.config),
    )
