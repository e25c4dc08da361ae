"""A training from files to files."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from snaketune.config.model import ModelSpec
from snaketune.config.preset import Preset
from snaketune.errors import UserError
from snaketune.identity import digest, file_hash, folder_fingerprint
from snaketune.jsonl import write_json
from snaketune.modeling.load import pick_device
from snaketune.training import saving
from snaketune.training.batch import TokenRow, padded, read_rows
from snaketune.training.batching import Order
from snaketune.training.checkpoint import State, load_checkpoint
from snaketune.training.lanes import Lanes, count_lanes
from snaketune.training.loop import Training, recompute_activations, train
from snaketune.training.loss import SummedLoss
from snaketune.training.memory import call_overhead, peak_memory, token_budget
from snaketune.training.optimizers import build
from snaketune.training.step import Layout
from snaketune.training.trainable import build_trainable, compute_dtype
from snaketune.training.world import World, join_world
from snaketune.workfolder import finish, work_folder

LOG_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("loss", pa.float64()),
        ("dev_loss", pa.float64()),
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
class Plan:
    """What defines a training, but for the rows."""

    model: ModelSpec
    preset: Preset
    seed: int
    snapshots: int = 0
    """Snapshots at equal distances; 0: none."""
    code: str = ""
    """Hash of the code: a checkpoint of other code is not continued."""


@dataclass(frozen=True)
class Published:
    """Where results go."""

    weights: Path
    config: Path
    snapshot_weights: list[Path]
    snapshot_configs: list[Path]
    log: Path
    meta: Path


def run_training(
    plan: Plan,
    train_rows: Path,
    dev_rows: Path,
    out: Published,
    work: Path,
    threads: int = 0,
    save_every: float = 60.0,
) -> None:
    """Trains, or goes on with a training that was killed, and publishes.

    `work` is where checkpoints lie until then; `threads` is the number of CPU threads (0: torch's
    choice); `save_every` is in seconds.
    """
    if threads:
        torch.set_num_threads(threads)
    hashes = [file_hash(train_rows), file_hash(dev_rows)]
    identity = _identity(plan, hashes)
    with join_world() as world:
        if world.leads:
            work_folder(work, identity)
        folder = work / digest(identity)
        rows, dev = read_rows(train_rows), read_rows(dev_rows)
        job, causal = prepare(plan, rows, dev, world, folder, save_every)
        # Nobody may write a checkpoint before everybody has read the last one.
        world.wait()
        train(job)
    if not world.leads:
        return
    saving.save(job.model, folder / "final", job.dtype)
    saving.publish(folder / "final", out.weights, out.config)
    pairs = zip(out.snapshot_weights, out.snapshot_configs, strict=True)
    for k, (weights, config) in enumerate(pairs, 1):
        saving.publish(folder / "snapshots" / f"{k}of{plan.snapshots}", weights, config)
    _write_log(out.log, job.state.log)
    write_json(out.meta, _meta(plan, job, causal, hashes))
    finish(folder)


def _identity(plan: Plan, hashes: list[str]) -> dict:
    local = Path(plan.model.id)
    return {
        "model": plan.model.model_dump(mode="json"),
        "files": folder_fingerprint(str(local)) if local.is_dir() else None,
        "preset": plan.preset.model_dump(mode="json"),
        "seed": plan.seed,
        "snapshots": plan.snapshots,
        "code": plan.code,
        "rows": hashes,
    }


def prepare(
    plan: Plan,
    rows: list[TokenRow],
    dev: list[TokenRow],
    world: World,
    folder: Path,
    save_every: float,
) -> tuple[Training, torch.nn.Module]:
    if not rows:
        raise UserError("train: found no training rows, expected at least one")
    preset, device = plan.preset, world.device(pick_device())
    model, causal = build_trainable(plan.model, preset, plan.seed, device)
    optimizer = build(preset.optimizer, model, preset.weight_decay)
    state = load_checkpoint(folder, model, optimizer) or State()
    dtype = compute_dtype(plan.model, preset, device)
    state.budget = state.budget or token_budget(causal.config, dtype, device)
    state.recompute = state.recompute or preset.gradient_checkpointing is True
    if state.recompute:
        recompute_activations(causal)
    batch = preset.batch_size * preset.accumulation
    order = Order(len(rows), batch, preset.epochs, plan.seed, preset.max_steps)
    loss = SummedLoss(causal, padded(rows[:1]).to(device))
    threads = torch.get_num_threads()
    job = Training(
        model=model,
        loss=loss,
        optimizer=optimizer,
        layout=_layout(preset, state, causal, device),
        order=order,
        train=rows,
        dev=dev,
        preset=preset,
        seed=plan.seed,
        device=device,
        dtype=dtype,
        world=world,
        lanes=Lanes(count_lanes(causal, threads, device, loss.apart), threads),
        state=state,
        folder=folder,
        snapshots=snapshot_steps(order.total_steps, plan.snapshots),
        save_snapshot=lambda name: saving.save(model, _made(folder / "snapshots") / name, dtype),
        save_every=save_every,
    )
    return job, causal


def snapshot_steps(total: int, count: int) -> dict[int, list[str]]:
    """Names (`1of3`) of the snapshots by the step that they follow: at k/n of the steps."""
    steps: dict[int, list[str]] = {}
    for k in range(1, count + 1):
        steps.setdefault(-(-k * total // count), []).append(f"{k}of{count}")
    return steps


def _layout(preset: Preset, state: State, causal: torch.nn.Module, device: torch.device) -> Layout:
    """`auto` groups: rows of like length waste little, and need no block mask, which costs more
    than that on the CPU and in torch's own attention."""
    kind = "grouped" if preset.batching == "auto" else preset.batching
    return Layout(kind, state.budget, call_overhead(causal.num_parameters(), device))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_log(path: Path, log: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(log, schema=LOG_SCHEMA), temporary, compression="zstd")
    temporary.replace(path)


def _meta(plan: Plan, job: Training, causal: torch.nn.Module, hashes: list[str]) -> dict:
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
        "epochs": steps[-1]["epoch"],
        "effective_batch": job.order.batch,
        "rows": len(job.train),
        "tokens": tokens,
        "trained_tokens": sum(row["trained_tokens"] for row in steps),
        "tokens_per_second": tokens / job.state.seconds,
        "final_loss": steps[-1]["loss"],
        "peak_memory_bytes": peak_memory(job.device),
        "device": job.device.type,
        "device_name": torch.cuda.get_device_name() if gpu else _cpu_name(),
        "processes": job.world.size,
        "threads": torch.get_num_threads(),
        "lanes": job.lanes.count,
        "dtype": str(job.dtype).removeprefix("torch."),
        "optimizer": plan.preset.optimizer,
        "batching": job.layout.kind,
        "micro_batch_tokens": job.layout.budget,
        "logits": "chunked" if job.loss.apart else "narrowed",
        "gradient_checkpointing": job.state.recompute,
        "parameters_trained": trained,
        "parameters": sum(p.numel() for p in job.model.parameters()),
        "train_sha256": hashes[0],
        "dev_sha256": hashes[1],
        "versions": {name: version(name) for name in _PACKAGES},
    }


def _cpu_name() -> str:
    return platform.processor() or platform.machine()
