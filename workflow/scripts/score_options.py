"""Scores the options of multiple-choice examples with one state."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    import torch

    from snaketune.inference.jobs import LoadableState, Shard
    from snaketune.inference.score_options import OptionsProtocol, score_options
    from snaketune.runtime.records import sign

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    score_options(
        LoadableState.from_params(
            params.state, snakemake.input.pin, snakemake.input.get("weights", [])
        ),
        OptionsProtocol(**params.protocol),
        Path(snakemake.input.examples),
        Path(params.work),
        Path(snakemake.output.scores),
        Path(snakemake.output.meta),
        Shard(*params.get("shard", (0, 1))),
        params.version,
    )
    settings = {"identity": params.identity, "protocol": params.protocol}
    sign(Path(snakemake.output.meta), params.made_by, **settings)
