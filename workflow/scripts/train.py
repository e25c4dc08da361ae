"""Trains one run: adapter (or whole model), snapshots, log and meta."""

import shutil
from pathlib import Path

from snaketune.runtime.job import job

with job(
    snakemake.log[0],
    snakemake.resources.get("gpu"),
    snakemake.resources.get("limit"),
    reads=snakemake.input,
):
    from snaketune.config.model import Preset
    from snaketune.models.folder import pinned
    from snaketune.runtime.content import sign
    from snaketune.training.assemble import TrainingPlan
    from snaketune.training.launch import launch_training
    from snaketune.training.run import TrainingOutputs
    from snaketune.training.tracking import Tracking

    out, aside, settings = snakemake.output, snakemake.params.aside, snakemake.params.settings
    # An earlier training's: they are no output, which Snakemake would remove.
    shutil.rmtree(aside["kept"], ignore_errors=True)
    launch_training(
        plan=TrainingPlan(
            model=pinned(snakemake.params.model, snakemake.input.pin),
            preset=Preset.model_validate({**settings["preset"], "keep": aside["keep"]}),
            seed=settings["seed"],
            snapshots=settings["snapshots"],
            version=snakemake.params.version,
            parts=aside.get("parts", ()),
        ),
        train_rows=Path(snakemake.input.train),
        dev_rows=Path(snakemake.input.dev),
        out=TrainingOutputs(
            weights=Path(out.weights),
            config=Path(out.config),
            snapshot_weights=[Path(p) for p in out.get("snapshot_weights", [])],
            snapshot_configs=[Path(p) for p in out.get("snapshot_configs", [])],
            kept=[Path(aside["kept"])] if aside["keep"] else [],
            log=Path(out.log),
            meta=Path(out.meta),
        ),
        work=Path(snakemake.params.work),
        threads=snakemake.threads,
        gpus=snakemake.resources.get("gpu", 0),
        save_every=aside["save_every"],
        tracking=Tracking(
            names=aside["report_to"], project=aside["project"], run=snakemake.wildcards.run
        ),
    )
    sign(Path(out.meta), snakemake.params.made_by, snakemake.output, **settings)
