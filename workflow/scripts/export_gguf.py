"""Writes a merged model as a GGUF file."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], reads=snakemake.input):
    import torch

    from snaketune.models.gguf import write_gguf
    from snaketune.runtime.content import sign
    from snaketune.runtime.files import write_json

    torch.set_num_threads(snakemake.threads)
    meta = Path(snakemake.output.meta)
    write_gguf(
        folder=Path(snakemake.input.folder),
        kind=snakemake.wildcards.kind,
        file=Path(snakemake.output.file),
        name=snakemake.params.name,
    )
    write_json(meta, {"bytes": Path(snakemake.output.file).stat().st_size})
    sign(meta, snakemake.params.made_by, snakemake.output)
