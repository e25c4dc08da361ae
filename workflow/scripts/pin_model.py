"""Fetches a model and notes its commit."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    from snaketune.config.model import ModelSpec
    from snaketune.models.folder import pin
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    params, output = snakemake.params, Path(snakemake.output[0])
    write_json(output, pin(ModelSpec.model_validate(params.model)))
    sign(output, params.made_by, identity=params.identity)
