"""Generates the replies of one state under one protocol."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    import torch

    from snaketune.inference.generate import GenerationProtocol, generate
    from snaketune.inference.jobs import LoadableState, Shard
    from snaketune.runtime.records import sign

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    few_shot = snakemake.input.get("few_shot")
    generate(
        LoadableState.from_params(
            params.state, snakemake.input.pin, snakemake.input.get("weights", [])
        ),
        GenerationProtocol(**params.protocol),
        Path(snakemake.input.examples),
        Path(str(few_shot)) if few_shot else None,
        Path(params.work),
        Path(snakemake.output.predictions),
        Path(snakemake.output.meta),
        Shard(*params.get("shard", (0, 1))),
        params.version,
    )
    settings = {"identity": params.identity, "protocol": params.protocol}
    sign(Path(snakemake.output.meta), params.made_by, **settings)
