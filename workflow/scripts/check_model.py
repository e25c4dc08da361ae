"""Checks a model and records what it is."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.jsonl import write_json
    from snaketune.modeling.describe import describe_model
    from snaketune.modeling.pinned import pinned
    from snaketune.runtime.records import sign

    params, output = snakemake.params, Path(snakemake.output[0])
    spec = pinned(params.model, snakemake.input.pin)
    about = describe_model(spec, params.kind, params.chat)
    write_json(output, about | {"revision": params.model["revision"]})
    sign(output, params.made_by, identity=params.identity)
