"""Checks that what is trained on a model can be exported as a GGUF file."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.models.folder import pinned
    from snaketune.models.gguf import check_gguf
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    params, output = snakemake.params, Path(snakemake.output[0])
    write_json(output, check_gguf(spec=pinned(params.model, snakemake.input.pin)))
    sign(output, params.made_by, identity=params.identity)
