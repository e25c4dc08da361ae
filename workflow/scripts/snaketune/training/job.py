"""What a training holds while it runs."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from snaketune.config.preset import Preset
from snaketune.training.batch import TokenRow
from snaketune.training.batching import Order
from snaketune.training.checkpoint import TrainingState
from snaketune.training.lanes import Lanes
from snaketune.training.loss import SummedLoss
from snaketune.training.step import BatchLayout, autocast
from snaketune.training.world import World


@dataclass
class Training:
    """Everything that the loop needs; `state` is where it stands."""

    model: nn.Module
    loss: SummedLoss
    optimizer: torch.optim.Optimizer
    layout: BatchLayout
    order: Order
    train: list[TokenRow]
    dev: list[TokenRow]
    preset: Preset
    seed: int
    device: torch.device
    dtype: torch.dtype
    world: World
    lanes: Lanes
    state: TrainingState
    folder: Path
    """Where checkpoints go."""
    snapshots: dict[int, list[str]]
    """Steps after which snapshots are saved, and their names."""
    save: Callable[[str], None]
    """Saves the weights as a folder of this name under `folder`."""
    save_every: float
    """Seconds between checkpoints at least; 0: one after every step."""

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        half = self.dtype is torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        # It makes its scale at the first call of this, and wants it from then on.
        self.scaler.scale(torch.zeros((), device=self.device))
        self.whole = self.preset.method == "full"

    def cast(self) -> contextlib.AbstractContextManager:
        """Around every call of the model."""
        return autocast(self.dtype, self.device, self.whole)
