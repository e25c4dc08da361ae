"""Takes an adapter that was trained elsewhere."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    from snaketune.models.hub import fetch_adapter
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    params, output = snakemake.params, snakemake.output
    fetch_adapter(
        source=params.source,
        revision=params.revision,
        weights=Path(output.weights),
        config=Path(output.config),
    )
    write_json(Path(output.record), {"adapter": params.source, "revision": params.revision})
    sign(Path(output.record), params.made_by, identity=params.identity)
