"""Takes the snapshot that scored best on the dev split; of equal ones the earliest."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.choice import choose_snapshot
    from snaketune.jsonl import write_json
    from snaketune.runtime.records import sign

    params, output = snakemake.params, Path(snakemake.output[0])
    metrics = [Path(f) for f in snakemake.input.metrics]
    write_json(output, choose_snapshot(metrics, params.snapshots, params.choose))
    sign(output, params.made_by, choose=params.choose)
