"""Scores the replies of one state with a reward model."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    import torch

    from snaketune.inference.jobs import LoadableState
    from snaketune.inference.rewards import reward
    from snaketune.runtime.records import sign

    torch.set_num_threads(snakemake.threads)
    reward(
        LoadableState.from_params(snakemake.params.state, snakemake.input.pin).model,
        snakemake.params.reply_prefix,
        Path(snakemake.input.predictions),
        Path(snakemake.input.examples),
        Path(snakemake.params.work),
        Path(snakemake.output.rewards),
        Path(snakemake.output.meta),
        snakemake.params.version,
    )
    sign(Path(snakemake.output.meta), snakemake.params.made_by, identity=snakemake.params.identity)
