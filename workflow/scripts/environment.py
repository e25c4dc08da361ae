"""Records the machine that the experiment's GPU work runs on, and the libraries it uses."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json
    from snaketune.runtime.machine import describe_machine

    output = Path(snakemake.output[0])
    write_json(output, describe_machine())
    sign(output, snakemake.params.made_by)
