"""Merges a run's adapter into its base."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    import torch

    from snaketune.modeling.merge import merge
    from snaketune.modeling.pinned import pinned

    torch.set_num_threads(snakemake.threads)
    merge(
        pinned(snakemake.params.model, snakemake.params.record),
        snakemake.params.quantisation,
        snakemake.params.weights,
        [Path(f) for f in snakemake.input.weights],
        Path(snakemake.output[0]),
    )
