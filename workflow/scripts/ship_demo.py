"""Copies the demo's inputs to where they are shipped."""

import shutil
from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    for part in snakemake.params.parts:
        shutil.copytree(
            Path(snakemake.params.made, part),
            Path(snakemake.params.shipped, part),
            # Snakemake marks folders that it made with a file of its own.
            ignore=shutil.ignore_patterns(".snakemake_timestamp"),
            dirs_exist_ok=True,
        )
