"""Trains the demo's judge from scratch."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    import torch

    from snaketune.demo.pretrain import EMPTY_THOUGHT, Recipe, make_model_folder
    from snaketune.demo.verdicts import judge_lesson

    torch.set_num_threads(snakemake.threads)
    make_model_folder(
        tokenizer_folder=Path(snakemake.input.tokenizer),
        shape=snakemake.params.shape,
        lesson=judge_lesson(Path(snakemake.input.guideline).read_text(encoding="utf-8")),
        recipe=Recipe(**snakemake.params.recipe),
        folder=Path(snakemake.output.folder),
        lead=EMPTY_THOUGHT,
    )
