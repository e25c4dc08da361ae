"""Takes predictions that were made elsewhere, checked against the eval's examples."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.config.dataset import SampleSpec
    from snaketune.data.check import SplitReport
    from snaketune.data.given import import_predictions
    from snaketune.runtime.content import sign

    sample = snakemake.params.sample
    import_predictions(
        file=Path(snakemake.params.file),
        examples=Path(snakemake.input.examples),
        task=snakemake.params.task,
        sample=SampleSpec.model_validate(sample) if sample else None,
        to=Path(snakemake.output.predictions),
        meta=Path(snakemake.output.meta),
        labels=snakemake.params.labels,
        largest=snakemake.params.largest,
        report=SplitReport.read(Path(snakemake.input.report)),
    )
    sign(Path(snakemake.output.meta), snakemake.params.made_by, snakemake.output)
