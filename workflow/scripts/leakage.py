"""Looks for an evaluated dataset's questions among those that another one trains on."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.data.example import read_examples
    from snaketune.data.overlap import leakage_between
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    found = leakage_between(
        train_name=snakemake.wildcards.train,
        train=read_examples(Path(snakemake.input.train)),
        test_name=snakemake.wildcards.test,
        asked={Path(file).stem: read_examples(Path(file)) for file in snakemake.input.asked},
    )
    output = Path(snakemake.output[0])
    write_json(output, found)
    sign(output, snakemake.params.made_by)
