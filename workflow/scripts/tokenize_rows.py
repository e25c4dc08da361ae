"""Makes training rows (ids, masks) of the prepared examples, and their statistics."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.modeling.pinned import pinned
    from snaketune.modeling.tokenizer import load_tokenizer
    from snaketune.runtime.records import sign
    from snaketune.training.tokenise import Limits, read_few_shot, tokenise

    params = snakemake.params
    tokenise(
        {"train": Path(snakemake.input.train), "dev": Path(snakemake.input.dev)},
        [
            shot
            for file, count in zip(snakemake.input.few_shot, params.few_shot, strict=True)
            for shot in read_few_shot(Path(file), count)
        ],
        load_tokenizer(pinned(params.model, snakemake.input.pin)),
        params.prompt["task"],
        params.prompt["system"],
        Limits(params.max_length, params.overlong),
        Path(snakemake.output.train).parent,
        params.prompt["prompt"],
        params.prompt["chat"],
        params.prompt["reply_prefix"],
    )
    sign(Path(snakemake.output.stats), params.made_by, tokenizer=params.tokenizer)
