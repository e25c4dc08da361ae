"""Uploads a run's adapter or merged model to the hub."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    from snaketune.models.hub import files_in, push_to_hub
    from snaketune.report.card import card
    from snaketune.runtime.files import write_json
    from snaketune.runtime.records import sign

    params = snakemake.params
    tables = (Path(snakemake.input[name]) for name in ("final", "comparisons", "base"))
    text = card(*tables, params.run, params.about)
    files = files_in([Path(f) for f in snakemake.input.files])
    output = Path(snakemake.output[0])
    write_json(output, push_to_hub(params.push, files, text))
    sign(output, params.made_by)
