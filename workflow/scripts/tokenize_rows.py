"""Makes training rows (ids, masks) of the prepared examples, and their statistics."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.data.draws import held_places, shown_questions, training_records
    from snaketune.data.steps import spec_of
    from snaketune.models.folder import load_tokenizer, pinned
    from snaketune.prompts.form import Form
    from snaketune.prompts.tokenise import RowLimits, tokenise
    from snaketune.runtime.content import sign

    params = snakemake.params

    def shown_of(dataset: str, count: int, settings: dict) -> list[str]:
        files = [Path(file) for file in snakemake.input.get(f"shown_{dataset}", [])]
        return shown_questions(
            spec=spec_of(settings, params.places[dataset]),
            train=training_records(files),
            count=count,
            where=f"datasets.{dataset}",
            numeric=settings["numeric"],
            options=settings.get("options", False),
            held=held_places(files),
        )

    tokenise(
        examples={"train": Path(snakemake.input.train), "dev": Path(snakemake.input.dev)},
        shown=[
            question
            for dataset, shown in params.shown.items()
            for question in shown_of(dataset, shown["count"], shown["settings"])
        ],
        tokenizer=load_tokenizer(pinned(params.model, snakemake.input.pin)),
        form=Form(**params.prompt),
        limits=RowLimits(params.max_length, params.overlong),
        folder=Path(snakemake.output.train).parent,
    )
    sign(Path(snakemake.output.stats), params.made_by, snakemake.output, tokenizer=params.tokenizer)
