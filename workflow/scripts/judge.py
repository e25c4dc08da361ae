"""Asks a judge model about the replies of one state."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    import torch

    from snaketune.config.evaluation import JudgeSpec
    from snaketune.inference.jobs import LoadableState
    from snaketune.inference.judge import judge
    from snaketune.runtime.records import sign

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    judge(
        LoadableState.from_params(params.state, snakemake.input.pin),
        JudgeSpec.model_validate(params.judge),
        params.batch_size,
        Path(snakemake.input.predictions),
        Path(snakemake.input.examples),
        Path(snakemake.input.guideline),
        Path(params.work),
        Path(snakemake.output.verdicts),
        Path(snakemake.output.meta),
        params.reply_prefix,
        params.version,
    )
    settings = {"identity": params.identity, "judge": params.judge}
    sign(Path(snakemake.output.meta), params.made_by, **settings)
