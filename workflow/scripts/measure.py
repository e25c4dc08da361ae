"""Scores predictions: one row an example, and the metrics."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.runtime.content import sign
    from snaketune.tasks.measure import measure

    verdicts, rewards = list(snakemake.input.verdicts), list(snakemake.input.rewards)
    measure(
        examples=Path(snakemake.input.examples),
        predictions=Path(snakemake.input.predictions),
        verdicts=Path(verdicts[0]) if verdicts else None,
        scores_to=Path(snakemake.output.scores),
        metrics_to=Path(snakemake.output.metrics),
        state=snakemake.wildcards.state,
        eval_name=snakemake.params.eval,
        protocol_name=snakemake.wildcards.protocol,
        protocol=snakemake.params.protocol,
        rewards=Path(rewards[0]) if rewards else None,
    )
    sign(Path(snakemake.output.metrics), snakemake.params.made_by, snakemake.output)
