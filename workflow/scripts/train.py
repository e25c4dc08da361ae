"""Trains one run: adapter (or whole model), snapshots, log and meta."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0], snakemake.resources.get("gpu")):
    from snaketune.config.preset import Preset
    from snaketune.models.folder import pinned
    from snaketune.runtime.records import sign
    from snaketune.training.launch import launch_training
    from snaketune.training.run import TrainingOutputs, TrainingPlan
    from snaketune.training.tracking import Tracking

    out, aside, settings = snakemake.output, snakemake.params.aside, snakemake.params.settings
    launch_training(
        TrainingPlan(
            pinned(snakemake.params.model, snakemake.input.pin),
            Preset.model_validate({**settings["preset"], "keep": aside["keep"]}),
            settings["seed"],
            settings["snapshots"],
            snakemake.params.version,
        ),
        Path(snakemake.input.train),
        Path(snakemake.input.dev),
        TrainingOutputs(
            Path(out.weights),
            Path(out.config),
            [Path(p) for p in out.get("snapshot_weights", [])],
            [Path(p) for p in out.get("snapshot_configs", [])],
            [Path(p) for p in out.get("kept", [])],
            Path(out.log),
            Path(out.meta),
        ),
        Path(snakemake.params.work),
        snakemake.threads,
        snakemake.resources.get("gpu", 0),
        Tracking(aside["report_to"], aside["project"], snakemake.wildcards.run),
    )
    sign(Path(out.meta), snakemake.params.made_by, **settings)
