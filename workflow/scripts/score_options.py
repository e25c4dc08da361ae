"""Scores the options of multiple-choice examples with one state."""

from pathlib import Path

from snaketune.runtime.job import job

with job(
    snakemake.log[0],
    snakemake.resources.get("gpu"),
    snakemake.resources.get("limit"),
    reads=snakemake.input,
):
    import torch

    from snaketune.inference.score_options import OptionsProtocol, score_options
    from snaketune.inference.session import LoadableState
    from snaketune.inference.shards import Shard
    from snaketune.runtime.content import sign

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    few_shot = snakemake.input.get("few_shot")
    score_options(
        state=LoadableState.from_params(
            params=params.state, pin=snakemake.input.pin, files=snakemake.input.get("weights", [])
        ),
        protocol=OptionsProtocol(**params.protocol),
        examples=Path(snakemake.input.examples),
        work=Path(params.work),
        scores=Path(snakemake.output.scores),
        meta=Path(snakemake.output.meta),
        shard=Shard(*params.get("shard", (0, 1))),
        version=params.version,
        few_shot=Path(str(few_shot)) if few_shot else None,
    )
    settings = {"identity": params.identity, "protocol": params.protocol}
    sign(Path(snakemake.output.meta), params.made_by, snakemake.output, **settings)
