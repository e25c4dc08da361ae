"""Checkpoints: all that a training needs to go on as if nothing had happened."""

import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from snaketune.training.optimizers import page_again
from snaketune.training.trainable import trained_weights
from snaketune.training.whole import atomic

FILE = "checkpoint.pt"


@dataclass
class TrainingState:
    """Where a training stands. Random numbers need no place here: every step seeds its own."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Time that they took, over all attempts."""
    log: list[dict] = field(default_factory=list)
    """Rows of the training log."""
    budget: int = 0
    """Tokens of a micro-batch; 0: not chosen yet."""
    recompute: bool = False
    """Whether gradient checkpointing is on."""
    skipped: int = 0
    """Steps of which nothing was taken, because their scaled gradients overflowed float16."""
    scaler: dict = field(default_factory=dict)
    """The loss scaler's state, where the computation is in float16."""


def save_checkpoint(
    folder: Path, state: TrainingState, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Writes the checkpoint; a kill at any moment leaves the last one or this one."""
    content = {
        "state": asdict(state),
        "weights": trained_weights(model),
        "optimizer": optimizer.state_dict(),
    }
    with atomic(folder / FILE) as new, new.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> TrainingState | None:
    """Puts the folder's checkpoint into model and optimiser; None where there is none."""
    file = folder / FILE
    if not file.exists():
        return None
    content = torch.load(file, map_location="cpu", weights_only=True)
    weights = trained_weights(model)
    for name, value in content["weights"].items():
        weights[name].copy_(value)
    optimizer.load_state_dict(content["optimizer"])
    page_again(optimizer)
    return TrainingState(**content["state"])


class Timer:
    """Says when the next checkpoint is due: so often that little is lost, so seldom that writing
    takes at most about a fiftieth of the time."""

    def __init__(self, every: float) -> None:
        """`every`: seconds between checkpoints at least; 0: one after every step."""
        self.every, self.wait, self.last = every, every, time.monotonic()

    def due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self.last >= self.wait

    def saved(self, started: float) -> None:
        """Notes that a checkpoint was written, starting at `started` (monotonic seconds)."""
        self.last = time.monotonic()
        self.wait = self.every and max(self.every, 50 * (self.last - started))
