"""Asks a judge model about the replies of one state."""

from pathlib import Path

from snaketune.runtime.job import job

with job(
    snakemake.log[0],
    snakemake.resources.get("gpu"),
    snakemake.resources.get("limit"),
    reads=snakemake.input,
):
    import torch

    from snaketune.config.evaluation import JudgeSpec
    from snaketune.inference.judge import judge
    from snaketune.inference.session import LoadableState
    from snaketune.runtime.content import sign

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    judge(
        state=LoadableState.from_params(params.state, snakemake.input.pin),
        spec=JudgeSpec.model_validate(params.judge),
        batch_size=params.batch_size,
        predictions=Path(snakemake.input.predictions),
        examples=Path(snakemake.input.examples),
        guideline=Path(params.guideline_file),
        work=Path(params.work),
        verdicts=Path(snakemake.output.verdicts),
        meta=Path(snakemake.output.meta),
        reply_prefix=params.reply_prefix,
        version=params.version,
    )
    settings = {"identity": params.identity, "judge": params.judge}
    sign(Path(snakemake.output.meta), params.made_by, snakemake.output, **settings)
