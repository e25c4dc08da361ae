"""Merges a run's adapter into its base."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    import torch

    from snaketune.inference.state import State
    from snaketune.models.merge import merge

    torch.set_num_threads(snakemake.threads)
    state = State.given(snakemake.params.state, snakemake.input.pin, snakemake.input.weights)
    merge(state.model, state.quantisation, state.weights, state.files, Path(snakemake.output[0]))
