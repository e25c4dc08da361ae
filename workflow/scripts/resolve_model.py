"""Checks a model and records what it is."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.config.model import ModelSpec
    from snaketune.jsonl import write_json
    from snaketune.modeling.describe import describe_model

    spec = ModelSpec.model_validate(snakemake.params.model)
    kind = snakemake.params.get("kind", "causal")
    write_json(Path(snakemake.output[0]), describe_model(spec, kind, snakemake.params.chat))
