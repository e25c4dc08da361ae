"""What a training is made of: from plan and rows to model, optimiser and layout, where its last
checkpoint left them.

All of it follows from plan, rows and device, so that a training that starts again is the same one;
what an earlier attempt found out about memory (`TrainingState.budget`, `recompute`) goes on too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from snaketune.config.model import MICRO_BATCH_TOKENS, ModelSpec, Preset
from snaketune.models.load import pick_device, rope_switch
from snaketune.runtime.errors import UserError
from snaketune.training import saving
from snaketune.training.adapter_layers import cast_adapters
from snaketune.training.batches import BatchLayout, Order, TokenRow, padded_batch
from snaketune.training.fused_kernels import fuse
from snaketune.training.graphs import GraphedGradients, can_record
from snaketune.training.job import Training, cast
from snaketune.training.loss import SummedLoss
from snaketune.training.packed_attention import can_pack
from snaketune.training.parallel import Lanes, World, count_lanes
from snaketune.training.saving import TrainingState, load_checkpoint
from snaketune.training.trainable import (
    build_optimizer,
    build_trainable,
    compute_dtype,
    recompute_activations,
)

# Room for a micro-batch's activations: bytes on the CPU, a share of a GPU's memory.
_CPU_BYTES = 400_000_000
_GPU_SHARE = 0.4
_LEAST = 512
_SHORT_PRODUCTS = 30


@dataclass(frozen=True)
class TrainingPlan:
    """What defines a training, but for the rows."""

    model: ModelSpec
    preset: Preset
    seed: int
    snapshots: int = 0
    """Snapshots at equal distances; 0: none."""
    version: int = 0
    """Of the step: a checkpoint of another version is not continued."""
    parts: Sequence[str] = ()
    """The datasets whose rows are mixed, where there are several: dev is told by each."""


def prepare(
    plan: TrainingPlan,
    rows: list[TokenRow],
    dev: list[TokenRow],
    world: World,
    folder: Path,
    save_every: float,
) -> Training:
    """The training, where its checkpoint in `folder` left it, or at its beginning."""
    if not rows:
        raise UserError("train: found no training rows, expected at least one")
    if plan.preset.best != "none" and not dev:
        raise UserError(
            f"dev: found no rows, but the preset's best: {plan.preset.best} is taken on them; "
            "expected a dev split (the dataset's `dev`, or a source with one)"
        )
    preset, device = plan.preset, world.device(pick_device())
    model, causal = build_trainable(plan.model, preset, plan.seed, device)
    embeddings: Any = causal.get_input_embeddings()
    _check_rows([*rows, *dev], getattr(embeddings, "base_layer", embeddings).num_embeddings)
    optimizer = build_optimizer(preset.optimizer, model, preset.weight_decay)
    state = load_checkpoint(folder, model, optimizer) or TrainingState()
    if state.step and world.leads:
        print(f"going on from step {state.step}")
    dtype = compute_dtype(plan.model, preset, device)
    state.budget = state.budget or token_budget(causal.config, dtype, device)
    state.recompute = state.recompute or preset.gradient_checkpointing is True
    if state.recompute:
        recompute_activations(causal)
    batch = preset.batch_size * preset.accumulation
    order = Order(len(rows), batch, preset.epochs, plan.seed, preset.max_steps)
    loss = SummedLoss(causal, padded_batch(rows[:1]).to(device))
    kernels = fuse(loss, rows[0])
    layout = batch_layout(preset, state, causal, device, dtype)
    with cast(preset.method, dtype, device):
        group_unless_apart(layout, preset, loss, rows[0])
    cast_adapters(model, dtype, device)
    threads = torch.get_num_threads()
    job = Training(
        model=model,
        loss=loss,
        optimizer=optimizer,
        layout=layout,
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
        save=lambda name: saving.save_weights(model, folder / name, dtype),
        save_every=save_every,
        parts=plan.parts,
        kernels=kernels,
    )
    if state.scaler:
        job.scaler.load_state_dict(state.scaler)
    if layout.kind == "packed" and not layout.switch and can_record(loss, preset.method, device):
        job.graphs = GraphedGradients(loss, job.parameters, device)
    return job


def _check_rows(rows: list[TokenRow], vocabulary: int) -> None:
    """Refuses rows that teach nothing, and those of another model's tokenizer."""
    for row in rows:
        if not row.trained_tokens:
            raise UserError(
                f"row {row.id}: found no token that carries loss, expected one at least"
            )
        if (highest := int(row.input_ids.max())) >= vocabulary:
            raise UserError(
                f"row {row.id}: found token {highest}, but the model knows {vocabulary}; "
                "expected rows of the model's own tokenizer"
            )


def snapshot_steps(total: int, count: int) -> dict[int, list[str]]:
    """Names (`1of3`) of the snapshots by the step that they follow: at k/n of the steps."""
    steps: dict[int, list[str]] = {}
    for k in range(1, count + 1):
        steps.setdefault(-(-k * total // count), []).append(f"{k}of{count}")
    return steps


def batch_layout(
    preset: Preset,
    state: TrainingState,
    causal: PreTrainedModel,
    device: torch.device,
    dtype: torch.dtype,
) -> BatchLayout:
    """`auto` packs where attention keeps rows apart by their ends alone (flash attention). On a CPU
    that gains nothing over like lengths padded together (1,470 real tokens/s either way, against
    850 padded at random)."""
    flash = device.type == "cuda" and "flash" in (causal.config._attn_implementation or "")
    automatic = "packed" if flash or can_pack(causal, device, dtype) else "grouped"
    kind = automatic if preset.batching == "auto" else preset.batching
    overhead = call_overhead(causal.num_parameters(), device)
    return BatchLayout(kind, state.budget, overhead, rope_switch(causal.config))


def group_unless_apart(
    layout: BatchLayout, preset: Preset, loss: SummedLoss, probe: TokenRow
) -> None:
    """Groups rows of a model in which packed ones reach into each other, where nobody asked for
    packing; where somebody did, that is an error."""
    if layout.kind != "packed" or loss.packs(probe):
        return
    if preset.batching == "packed" and loss.keeps_apart(probe):
        return
    if preset.batching == "packed":
        raise UserError(
            f"preset: batching: found packed, but in a {type(loss.model).__name__} packed rows "
            "reach into each other, because not all of its layers are attention; expected auto or "
            "grouped"
        )
    layout.kind = "grouped"


def token_budget(config: PretrainedConfig, dtype: torch.dtype, device: torch.device) -> int:
    """Padded tokens of a micro-batch to start with, from an estimate of what a token's
    activations take. It follows from model and device alone, so that a training that starts
    again lays its rows out the same way. Where it proves too much, it is halved."""
    text = config.get_text_config()
    # Saved for the backward pass in a block: about 12 tensors of the width, 4 of the inner width.
    width, inner = text.hidden_size, getattr(text, "intermediate_size", 0) or 4 * text.hidden_size
    token = text.num_hidden_layers * (12 * width + 4 * inner) * dtype.itemsize
    return max(_LEAST, min(MICRO_BATCH_TOKENS, int(_room(device) / token)))


def _room(device: torch.device) -> float:
    if device.type == "cuda":
        return _GPU_SHARE * torch.cuda.get_device_properties(device).total_memory
    return _CPU_BYTES


def call_overhead(parameters: int, device: torch.device) -> int:
    """What one micro-batch costs beyond its tokens, in tokens: the time of its calls over the
    time of a token, and what short products lose. A small model on a fast device is all calls.
    (Measured on two CPU cores with 1 and 30 million weights: 10 ms of calls, 30 tokens.)"""
    calls, rate = (0.05, 1e14) if device.type == "cuda" else (0.01, 1e11)
    return _SHORT_PRODUCTS + int(calls * rate / (4 * parameters))
