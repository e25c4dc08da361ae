"""Checks a model and records what it is."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.models.describe import describe_model
    from snaketune.models.folder import pinned
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json
    from snaketune.training.methods import require_methods

    params, output = snakemake.params, Path(snakemake.output[0])
    spec = pinned(params.model, snakemake.input.pin)
    about = describe_model(spec=spec, kind=params.kind, chat=params.chat, thoughts=params.thoughts)
    if params.kind == "causal":
        require_methods(spec=spec, methods=params.methods)
    write_json(output, about | {"revision": params.model["revision"]})
    sign(output, params.made_by, identity=params.identity)
