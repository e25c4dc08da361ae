"""Takes the snapshot that scored best on the dev split; of equal ones the earliest."""

from pathlib import Path

from snaketune.job import job

with job(snakemake.log[0]):
    from snaketune.choice import choose_snapshot
    from snaketune.jsonl import write_json

    choice = choose_snapshot(
        [Path(f) for f in snakemake.input.metrics],
        snakemake.params.snapshots,
        snakemake.params.choose,
    )
    write_json(Path(snakemake.output[0]), choice)
