"""Fetches a model and notes its commit."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.config.model import ModelSpec
    from snaketune.jsonl import write_json
    from snaketune.modeling.pinned import pin
    from snaketune.runtime.records import sign

    params, output = snakemake.params, Path(snakemake.output[0])
    write_json(output, pin(ModelSpec.model_validate(params.model)))
    sign(output, params.made_by, identity=params.identity)
