"""Shows training rows with the trained tokens marked, in the terminal and as a page."""

import os
import sys
from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    from snaketune.models.folder import load_tokenizer, pinned
    from snaketune.prompts.preview import preview_text, shown_set, write_preview

    params, page = snakemake.params, Path(snakemake.params.page)
    sets = [
        shown_set(
            file=Path(rows),
            tokenizer=load_tokenizer(pinned(about["model"], pin)),
            runs=about["runs"],
            model=about["name"],
        )
        for rows, pin, about in zip(params.rows, params.pins, params.sets, strict=True)
    ]
    write_preview(page, params.experiment, sets)
    coloured = sys.__stdout__ is not None and sys.__stdout__.isatty()
    told = preview_text(sets, coloured and not os.environ.get("NO_COLOR"))
print(f"\n{told}\nPage: {page}")
