"""Trains the demo's reward model, and the checker beside it."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    import torch

    from snaketune.demo.pretrain import Recipe
    from snaketune.demo.reward import make_grader_folders

    torch.set_num_threads(snakemake.threads)
    make_grader_folders(
        base=Path(snakemake.input.base),
        more_layers=snakemake.params.more_layers,
        recipe=Recipe(**snakemake.params.recipe),
        labels=Recipe(**snakemake.params.labels),
        reward=Path(snakemake.output.reward),
        checker=Path(snakemake.output.checker),
    )
