"""Draws a dataset's few-shot examples from its training records, or reads the user's own."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.data.draws import held_places, training_records, write_few_shot
    from snaketune.data.steps import spec_of
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    files = [Path(file) for file in snakemake.input]
    write_few_shot(
        spec=spec_of(snakemake.params.dataset, snakemake.params.places),
        train=training_records(files),
        path=Path(snakemake.output.examples),
        where=f"datasets.{snakemake.wildcards.dataset}",
        numeric=snakemake.params.dataset["numeric"],
        options=snakemake.params.dataset.get("options", False),
        held=held_places(files),
    )
    # The examples are a plain list, which may be given as `few_shot.file`: who made them is beside.
    meta = Path(snakemake.output.meta)
    write_json(meta, {})
    sign(meta, snakemake.params.made_by, snakemake.output)
