"""Notes which manifests, model records and machine the experiment's work starts from."""

from pathlib import Path

from snaketune.identity import file_hash
from snaketune.job import job
from snaketune.jsonl import write_json

with job(snakemake.log[0]):
    checked = {f: file_hash(Path(f)) for f in snakemake.input}
    write_json(Path(snakemake.output[0]), checked)
