"""A training from files to files: go on or begin, train, publish weights, log and meta.

The work folder is named by what defines the training, so that a killed one is found again and
another one never; Snakemake's outputs are written at the end, from there.
"""

import json
import platform
import resource
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from snaketune.config.model import Preset
from snaketune.models.content import model_identity
from snaketune.models.folder import at_commit
from snaketune.models.load import pick_device
from snaketune.runtime.content import digest, file_hash
from snaketune.runtime.errors import UserError, visible
from snaketune.runtime.files import write_json
from snaketune.runtime.job import preemption_deferred
from snaketune.runtime.machine import resource_usage
from snaketune.runtime.workfolder import held, set_aside, work_folder
from snaketune.training.assemble import TrainingPlan, prepare
from snaketune.training.batches import read_token_rows
from snaketune.training.dev import CANDIDATES, DevPoint, best_point, kept_steps
from snaketune.training.job import Training
from snaketune.training.loop import take_remaining_steps
from snaketune.training.parallel import join_world
from snaketune.training.saving import atomic
from snaketune.training.tracking import Tracking, open_trackers
from snaketune.training.trainable import adapter_table, compute_dtype

LOG_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("loss", pa.float64()),
        ("dev_loss", pa.float64()),
        ("dev_accuracy", pa.float64()),
        ("learning_rate", pa.float64()),
        ("grad_norm", pa.float64()),
        ("tokens", pa.int64()),
        ("trained_tokens", pa.int64()),
        ("seconds", pa.float64()),
        ("tokens_per_second", pa.float64()),
    ]
)
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class TrainingOutputs:
    """Where results go."""

    weights: Path
    config: Path
    snapshot_weights: list[Path]
    snapshot_configs: list[Path]
    kept: list[Path]
    """A folder for the weights that `keep` keeps, as `step-N/`; none: they go with the training."""
    log: Path
    meta: Path


def run_training(
    plan: TrainingPlan,
    train_rows: Path,
    dev_rows: Path,
    out: TrainingOutputs,
    work: Path,
    threads: int = 0,
    save_every: float = 60.0,
    tracking: Tracking | None = None,
) -> None:
    """Trains, or goes on with a training that was killed, and publishes.

    `work` is where checkpoints lie until then; `threads` is the number of CPU threads (0: torch's
    choice); `save_every` is in seconds; `tracking` is who is told how it goes.
    """
    if threads:
        torch.set_num_threads(threads)
    hashes = [file_hash(train_rows), file_hash(dev_rows)]
    identity = _identity(plan, hashes)
    with ExitStack() as until_published:
        with join_world() as world:
            if world.leads:
                until_published.enter_context(held(work))
                work_folder(work, identity)
            # What is left of a killed attempt may write until then.
            world.wait()
            folder = work / digest(identity)
            rows, dev = read_token_rows(train_rows), read_token_rows(dev_rows)
            job = prepare(plan, rows, dev, world, folder, save_every)
            # Nobody may write a checkpoint before everybody has read the last one.
            world.wait()
            with preemption_deferred():
                _train(plan, job, tracking or Tracking(), out.log.parent)
        if world.leads:
            _publish(plan, job, out, hashes)
            set_aside(folder)


def _train(plan: TrainingPlan, job: Training, tracking: Tracking, results: Path) -> None:
    """Trains; where this process leads, trackers are told."""
    if not job.world.leads:
        take_remaining_steps(job)
        return
    settings = _settings(plan)
    with open_trackers(tracking, settings, results, job.folder, job.state.log) as trackers:
        take_remaining_steps(job, trackers)


def _publish(plan: TrainingPlan, job: Training, out: TrainingOutputs, hashes: list[str]) -> None:
    """Puts weights, log and meta where they are wanted."""
    best = best_point(job.state.log, plan.preset.best)
    _copy_weights(_final(plan, job, best), out.weights, out.config)
    pairs = zip(out.snapshot_weights, out.snapshot_configs, strict=True)
    for k, (weights, config) in enumerate(pairs, 1):
        _copy_weights(job.folder / "snapshots" / f"{k}of{plan.snapshots}", weights, config)
    for folder in out.kept:
        _publish_kept(plan.preset, job, folder, [out.weights.name, out.config.name])
    _write_log(out.log, job.state.log)
    with atomic(out.meta) as new:
        found = _meta(plan, job, hashes) | _chosen(plan, best) | resource_usage(job.world.size)
        write_json(new, found)


def _copy_weights(folder: Path, weights: Path, config: Path) -> None:
    """Copies the two files of a saved folder to where they are wanted."""
    for target in (weights, config):
        with atomic(target) as new:
            shutil.copyfile(folder / target.name, new)


def _publish_kept(preset: Preset, job: Training, folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    steps = sorted(kept_steps(job.state.log, preset))
    if not steps:
        print("keep: no weights are kept, because there are no dev rows to score them on")
    there = [step for step in steps if (job.folder / CANDIDATES / str(step)).is_dir()]
    if lost := sorted(set(steps) - set(there)):
        print(f"keep: step {', '.join(map(str, lost))} was scored under a smaller keep: not kept")
    for step in there:
        weights, config = (folder / f"step-{step}" / name for name in names)
        _copy_weights(job.folder / CANDIDATES / str(step), weights, config)


def _final(plan: TrainingPlan, job: Training, best: DevPoint | None) -> Path:
    """The folder of the weights that the training is for: the best ones, or the last."""
    if best:
        found = f"{plan.preset.best} on dev {best.value:.4f}"
        print(f"best at step {best.step}, {found}: the weights of that step are taken")
        return job.folder / CANDIDATES / str(best.step)
    if plan.preset.best != "none":
        raise UserError(
            f"preset: best: found no finite {plan.preset.best} on dev at any step, expected one to "
            "choose by"
        )
    job.save("final")
    return job.folder / "final"


def _chosen(plan: TrainingPlan, best: DevPoint | None) -> dict:
    if best is None:
        return {}
    return {"best": plan.preset.best, "best_step": best.step, "best_value": best.value}


def _settings(plan: TrainingPlan) -> dict:
    """What trackers show beside the curves: of a folder its name and not its place, and no
    character that is not seen."""
    name = Path(plan.model.id).name if Path(plan.model.id).is_dir() else plan.model.id
    return {"model": visible(name), "seed": plan.seed, **plan.preset.model_dump(mode="json")}


def _identity(plan: TrainingPlan, hashes: list[str]) -> dict:
    device = pick_device()
    return {
        "model": model_identity(at_commit(plan.model)),
        "device": device.type,
        "dtype": str(compute_dtype(plan.model, plan.preset, device)),
        "preset": plan.preset.identity(),
        "seed": plan.seed,
        "snapshots": plan.snapshots,
        "version": plan.version,
        "rows": hashes,
    }


def _write_log(path: Path, log: list[dict]) -> None:
    mixed = any("dev_losses" in row for row in log)
    schema = LOG_SCHEMA.append(pa.field("dev_losses", pa.string())) if mixed else LOG_SCHEMA
    with atomic(path) as new:
        pq.write_table(pa.Table.from_pylist(log, schema=schema), new, compression="zstd")


def _by_part(job: Training) -> dict:
    """Of rows of several datasets: how many of each were learned from in all steps, those that
    occur again counted again, how many tokens of them carried loss, and the last loss on dev."""
    if not job.parts:
        return {}
    taken = [job.train[i] for step in range(job.state.step) for i in job.order.window(step)]
    dev = [row["dev_losses"] for row in job.state.log if "dev_losses" in row]
    losses = json.loads(dev[-1]) if dev else {}
    parts = {}
    for name in job.parts:
        rows = [row for row in taken if row.part == name]
        own = {row.id for row in job.train if row.part == name}
        parts[name] = {
            "rows_taken": len(rows),
            "trained_tokens": sum(row.trained_tokens for row in rows),
            "epochs_of_its_rows": len(rows) / len(own) if own else 0.0,
            "dev_loss": losses.get(name),
        }
    return {"parts": parts}


def _meta(plan: TrainingPlan, job: Training, hashes: list[str]) -> dict:
    steps = [row for row in job.state.log if "loss" in row]
    tokens = sum(row["tokens"] for row in steps)
    trained = sum(p.numel() for p in job.parameters)
    gpu = job.device.type == "cuda"
    return {
        "model": plan.model.id,
        "method": plan.preset.method,
        "seed": plan.seed,
        "wall_seconds": job.state.seconds,
        "steps": job.state.step,
        "steps_left_out": job.state.skipped,
        "epochs": steps[-1]["epoch"],
        "effective_batch": job.order.batch,
        "rows": len(job.train),
        **_by_part(job),
        "tokens": tokens,
        "trained_tokens": sum(row["trained_tokens"] for row in steps),
        "tokens_per_second": tokens / job.state.seconds,
        "final_loss": steps[-1]["loss"],
        "peak_memory_bytes": _peak_memory(job.device),
        "device": job.device.type,
        "device_name": torch.cuda.get_device_name() if gpu else _cpu_name(),
        "device_memory_bytes": torch.cuda.get_device_properties().total_memory if gpu else None,
        "processes": job.world.size,
        "threads": torch.get_num_threads(),
        "lanes": job.lanes.count,
        "dtype": str(job.dtype).removeprefix("torch."),
        "optimizer": plan.preset.optimizer,
        "batching": job.layout.kind,
        "micro_batch_tokens": job.layout.budget,
        "fused_kernels": job.kernels,
        "cuda_graphs": bool(job.graphs and job.graphs.works),
        "logits": "chunked" if job.loss.apart else "narrowed",
        "gradient_checkpointing": job.state.recompute,
        "parameters_trained": trained,
        "parameters": sum(p.numel() for p in job.model.parameters()),
        **({} if plan.preset.method == "full" else adapter_table(job.loss.model)),
        "train_sha256": hashes[0],
        "dev_sha256": hashes[1],
        "versions": {name: version(name) for name in _PACKAGES},
    }


def _cpu_name() -> str:
    return platform.processor() or platform.machine()


def _peak_memory(device: torch.device) -> int:
    """Bytes used at most so far: on the GPU by tensors, on the CPU by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
