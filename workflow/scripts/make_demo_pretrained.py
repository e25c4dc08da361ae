"""Trains the demo's base model from scratch: its first stage."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    import torch

    from snaketune.demo.conversations import conversation
    from snaketune.demo.pretrain import Recipe, make_model_folder

    torch.set_num_threads(snakemake.threads)
    make_model_folder(
        tokenizer_folder=Path(snakemake.input.tokenizer),
        shape=snakemake.params.shape,
        lesson=conversation,
        recipe=Recipe(**snakemake.params.recipe),
        folder=Path(snakemake.output.folder),
    )
