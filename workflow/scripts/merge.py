"""Merges a run's adapter into its base."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu"), reads=snakemake.input):
    import torch

    from snaketune.inference.session import LoadableState
    from snaketune.models.merge import write_merged
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    torch.set_num_threads(snakemake.threads)
    state = LoadableState.from_params(
        params=snakemake.params.state, pin=snakemake.input.pin, files=snakemake.input.weights
    )
    write_merged(
        spec=state.model,
        quantisation=state.quantisation,
        weights=state.weights,
        files=state.files,
        folder=Path(snakemake.output.folder),
    )
    meta = Path(snakemake.output.meta)
    write_json(meta, {})
    sign(meta, snakemake.params.made_by, snakemake.output)
