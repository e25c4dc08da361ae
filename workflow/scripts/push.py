"""Uploads a run's adapter or merged model to the hub."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.models.hub import files_in, push_to_hub
    from snaketune.report.card import eval_results, model_card
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    params = snakemake.params
    text = model_card(
        final=Path(snakemake.input.final),
        comparisons=Path(snakemake.input.comparisons),
        base=Path(snakemake.input.base),
        run=params.run,
        about=params.about,
    )
    files = files_in([Path(f) for f in snakemake.input.files])
    output = Path(snakemake.output[0])
    found = eval_results(Path(snakemake.input.final), run=params.run, about=params.about)
    beside = {f".eval_results/{params.run}.yaml": found} if found else {}
    write_json(output, push_to_hub(spec=params.push, files=files, card=text, beside=beside))
    sign(output, params.made_by)
