"""Takes an adapter that was trained elsewhere, if it fits its base."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.models.adapters import check_adapter, describe_fit
    from snaketune.models.folder import pinned
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
    spec = pinned(params.model, snakemake.input.pin)
    fit = check_adapter(
        spec=spec, weights=Path(output.weights), config=Path(output.config), name=params.source
    )
    about = {"adapter": params.source, "revision": params.revision}
    write_json(Path(output.record), about | describe_fit(fit=fit, spec=spec))
    sign(Path(output.record), params.made_by, snakemake.output, identity=params.identity)
