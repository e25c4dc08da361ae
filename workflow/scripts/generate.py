"""Generates the replies of one state under one protocol."""

from pathlib import Path

from snaketune.runtime.job import job

with job(
    snakemake.log[0],
    snakemake.resources.get("gpu"),
    snakemake.resources.get("limit"),
    reads=snakemake.input,
):
    import torch

    from snaketune.inference.generate import GenerationProtocol, generate
    from snaketune.inference.session import LoadableState
    from snaketune.inference.shards import Shard
    from snaketune.runtime.content import sign

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    few_shot = snakemake.input.get("few_shot")
    generate(
        state=LoadableState.from_params(
            params=params.state, pin=snakemake.input.pin, files=snakemake.input.get("weights", [])
        ),
        protocol=GenerationProtocol(**params.protocol),
        examples=Path(snakemake.input.examples),
        few_shot=Path(str(few_shot)) if few_shot else None,
        work=Path(params.work),
        predictions=Path(snakemake.output.predictions),
        meta=Path(snakemake.output.meta),
        shard=Shard(*params.get("shard", (0, 1))),
        version=params.version,
    )
    settings = {"identity": params.identity, "protocol": params.protocol}
    sign(Path(snakemake.output.meta), params.made_by, snakemake.output, **settings)
