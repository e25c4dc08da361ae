"""Merges a run's adapter into its base."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    import torch

    from snaketune.inference.jobs import LoadableState
    from snaketune.models.merge import write_merged

    torch.set_num_threads(snakemake.threads)
    state = LoadableState.from_params(
        snakemake.params.state, snakemake.input.pin, snakemake.input.weights
    )
    write_merged(
        state.model, state.quantisation, state.weights, state.files, Path(snakemake.output[0])
    )
