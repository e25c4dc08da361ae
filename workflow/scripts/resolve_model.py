"""Checks a model and records what it is."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.config.model import ModelSpec
    from snaketune.jsonl import write_json
    from snaketune.modeling.describe import describe_model

    spec = ModelSpec.model_validate(snakemake.params.model)
    about = describe_model(spec, snakemake.params.kind, snakemake.params.chat)
    write_json(Path(snakemake.output[0]), about)
