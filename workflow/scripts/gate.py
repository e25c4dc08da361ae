"""Judges whether the experiment is fit to release: fails where it is not."""

import json
import sys
from pathlib import Path

from snaketune.runtime.errors import in_terminal
from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.tables.gate import require_passed

    file = Path(snakemake.input.gate)
    said = require_passed(json.loads(file.read_text(encoding="utf-8")), file.with_suffix(".md"))
    print(said)
print(in_terminal(said), file=sys.stderr)
