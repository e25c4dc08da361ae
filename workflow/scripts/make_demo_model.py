"""Trains the demo's base model further: its second stage."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    import torch

    from snaketune.demo.conversations import instruction
    from snaketune.demo.pretrain import Recipe, go_on_with_model_folder

    torch.set_num_threads(snakemake.threads)
    go_on_with_model_folder(
        start=Path(snakemake.input.start),
        lesson=instruction,
        recipe=Recipe(**snakemake.params.recipe),
        folder=Path(snakemake.output.folder),
    )
