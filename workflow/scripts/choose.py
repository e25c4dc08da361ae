"""Takes the snapshot that scored best on the dev split; ties: the earliest."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json
    from snaketune.tables.choose_snapshot import choose_snapshot

    params, output = snakemake.params, Path(snakemake.output[0])
    metrics = [Path(f) for f in snakemake.input.metrics]
    write_json(
        output, choose_snapshot(files=metrics, snapshots=params.snapshots, choose=params.choose)
    )
    sign(output, params.made_by, choose=params.choose)
