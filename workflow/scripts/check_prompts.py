"""Holds a run's training rows against what its evals send."""

import json
from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.inference.agreement import check_run
    from snaketune.models.folder import load_tokenizer, pinned
    from snaketune.prompts.form import Form
    from snaketune.runtime.content import sign

    params, record = snakemake.params, Path(snakemake.output[0])
    check_run(
        run=snakemake.wildcards.run,
        rows=Path(snakemake.input.rows),
        dropped=Path(snakemake.input.dropped),
        stats=json.loads(Path(snakemake.input.stats).read_text(encoding="utf-8")),
        examples=Path(snakemake.input.examples),
        tokenizer=load_tokenizer(pinned(params.model, snakemake.input.pin)),
        form=Form(**params.prompt),
        evals=params.evals,
        told=params.told,
        accept=params.accept,
        dropped_at_most=params.dropped_at_most,
        record=record,
    )
    sign(record, params.made_by)
