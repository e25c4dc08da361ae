"""Scores the replies of one state with a reward model."""

from pathlib import Path

from snaketune.runtime.job import job

with job(
    snakemake.log[0],
    snakemake.resources.get("gpu"),
    snakemake.resources.get("limit"),
    reads=snakemake.input,
):
    import torch

    from snaketune.inference.rewards import reward
    from snaketune.inference.session import LoadableState
    from snaketune.runtime.content import sign

    torch.set_num_threads(snakemake.threads)
    reward(
        spec=LoadableState.from_params(snakemake.params.state, snakemake.input.pin).model,
        reply_prefix=snakemake.params.reply_prefix,
        predictions=Path(snakemake.input.predictions),
        examples=Path(snakemake.input.examples),
        work=Path(snakemake.params.work),
        rewards=Path(snakemake.output.rewards),
        meta=Path(snakemake.output.meta),
        version=snakemake.params.version,
    )
    sign(
        Path(snakemake.output.meta),
        snakemake.params.made_by,
        snakemake.output,
        identity=snakemake.params.identity,
    )
