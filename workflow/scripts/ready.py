"""Notes which manifests and model records the experiment's work starts from."""

import hashlib
from pathlib import Path

from snaketune.job import job
from snaketune.jsonl import write_json

with job(snakemake.log[0]):
    checked = {f: hashlib.sha256(Path(f).read_bytes()).hexdigest() for f in snakemake.input}
    write_json(Path(snakemake.output[0]), checked)
