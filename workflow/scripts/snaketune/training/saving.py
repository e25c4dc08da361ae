"""What a training writes, whole or not at all, on a disk that may be full.

Weights for others to read, in PEFT's format, or transformers' for `full`; and checkpoints, for the
training itself: all that it needs to go on as if nothing had happened.
"""

import errno
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from snaketune.runtime.errors import UserError, first_line, is_out_of_memory
from snaketune.runtime.machine import free_main_memory
from snaketune.training.trainable import page_again, trained_weights

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """A path to write a file or a folder to, which becomes `target` at the end; a kill at any
    moment leaves the old one or the new one.

    Where the writing fails, what there is of it is removed; a full disk is the user's error.
    """
    new = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(new)
        yield new
    except Exception as error:
        _remove(new)
        if reason := _full_disk(error):
            raise UserError(
                f"{target}: could not be written ({reason}); expected room for it. The last "
                "checkpoint is kept: started again, the training goes on from there"
            ) from error
        raise
    if new.is_dir():
        _remove(target)
    new.replace(target)


def _full_disk(error: BaseException | None) -> str | None:
    """The system's words for a full disk, where that is what the error comes from. torch reports
    a failed write as a RuntimeError of its own, with the system's as its context; safetensors
    has the number in its message alone."""
    while error is not None:
        told = re.search(r"os error (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if number in _FULL:
            return os.strerror(number)
        error = error.__context__
    return None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
MODEL_FILES = ("model.safetensors", "config.json")


def save_weights(model: nn.Module, folder: Path, dtype: torch.dtype) -> None:
    """Writes the weights to `folder`, which is there whole or not at all.

    An adapter in float32; a whole model in one file, in `dtype`.
    """
    with atomic(folder) as new:
        if isinstance(model, PreTrainedModel):
            _save_whole(model, new, dtype)
        else:
            adapted: Any = model  # PEFT's, whose methods torch's modules do not have
            adapted.save_pretrained(str(new))
            _change(new / "adapter_config.json", _in_order)


def _in_order(config: dict[str, Any]) -> None:
    """PEFT writes sets, such as the layers' names, in an order that is another in each process;
    equal trainings are to leave equal files."""
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config[key], list):
            config[key].sort()


def _change(config: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Writes a config anew, with its keys in order."""
    text = json.loads(config.read_text(encoding="utf-8"))
    change(text)
    config.write_text(json.dumps(text, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save_whole(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    state = _cast(model.state_dict(), dtype)
    model.save_pretrained(str(folder), state_dict=state, max_shard_size="1000GB")
    name = str(dtype).removeprefix("torch.")
    _change(folder / "config.json", lambda config: config.update(dtype=name))


def _cast(state: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights in `dtype`. What is one tensor under two names, such as a head tied to the
    embeddings, stays one, and is written once."""
    cast: dict[tuple, torch.Tensor] = {}
    found = {}
    for name, value in state.items():
        place = (value.data_ptr(), value.shape, value.stride())
        if place not in cast:
            cast[place] = value.to(dtype)
        found[name] = cast[place]
    return found


CHECKPOINT, BEFORE = "checkpoint.pt", "checkpoint.before.pt"


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
    folder: Path, state: TrainingState, model: nn.Module, optimizer: Optimizer
) -> None:
    """Writes the checkpoint; a kill at any moment leaves the last one or this one."""
    _write(folder, _content(state, model, optimizer))


def _content(state: TrainingState, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    return {
        "state": asdict(state),
        "weights": trained_weights(model),
        "optimizer": optimizer.state_dict(),
    }


def _write(folder: Path, content: dict[str, Any]) -> None:
    """The one before stays beside it. While it is written there are no more than two."""
    file, before = folder / CHECKPOINT, folder / BEFORE
    if file.exists():
        before.unlink(missing_ok=True)
    with atomic(file) as new:
        with new.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(OSError):  # None yet, or no links there: then there is none before.
            before.hardlink_to(file)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer) -> TrainingState | None:
    """Puts the folder's checkpoint, or where it is damaged the one before, into model and
    optimiser; None where there is none."""
    if not (content := _read(folder / CHECKPOINT) or _read(folder / BEFORE)):
        return None
    weights = trained_weights(model)
    for name, value in content["weights"].items():
        weights[name].copy_(value)
    optimizer.load_state_dict(content["optimizer"])
    page_again(optimizer)
    return TrainingState(**content["state"])


def _read(file: Path) -> dict[str, Any] | None:
    """What was saved; None where it is not as it was, by sums that torch writes and ignores."""
    try:
        with ZipFile(file) as parts:
            if damaged := parts.testzip():
                raise ValueError(f"{damaged} is damaged")
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:
        if is_out_of_memory(error):
            raise
        older = file.name == CHECKPOINT and file.with_name(BEFORE).exists()
        then = "goes on from the one before" if older else "begins anew"
        print(
            f"note: the checkpoint {file} can't be read ({first_line(error)}; a disk that was "
            f"full?): it is removed, and the training {then}"
        )
        file.unlink(missing_ok=True)
        return None


MOST_LOST = 300.0
"""Seconds between checkpoints at most, unless more is asked for."""


class Checkpoints:
    """Writes a training's checkpoints: so often that little is lost, so seldom that the training
    waits for them at most about a fiftieth of its time, and five minutes apart at most.

    What goes into one is copied to main memory between two steps and written while the next ones
    run. Where there is no room for the copy, the training waits until it is written.
    """

    def __init__(self, folder: Path, every: float) -> None:
        """`every`: seconds between checkpoints at least; 0: one after every step."""
        self.folder, self.every, self.wait = folder, every, every
        self.last = time.monotonic()
        self.room: Callable[[], int] = free_main_memory
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    @property
    def age(self) -> float:
        """Seconds of work that a kill would lose now, were the last checkpoint written."""
        return time.monotonic() - self.last

    def due(self) -> bool:
        """Whether it is time."""
        return self.age >= self.wait and (self._writing is None or self._writing.done())

    def save(
        self,
        state: TrainingState,
        model: nn.Module,
        optimizer: Optimizer,
        aside: bool = True,
    ) -> None:
        """Makes a checkpoint; unless `aside`, it is written on return.

        Raises what the writing of the one before ran into.
        """
        self.finish()
        started = time.monotonic()
        content = _content(state, model, optimizer)
        fits = self.every > 0 and 2 * _bytes(content) < self.room()
        if aside and fits:
            self._writing = self._writer.submit(_write, self.folder, _copied(content))
        else:
            save_checkpoint(self.folder, state, model, optimizer)
        self.last, waited = time.monotonic(), time.monotonic() - started
        longest = max(self.every, MOST_LOST) if fits else math.inf
        self.wait = self.every and min(max(self.every, 50 * waited), longest)

    def finish(self) -> None:
        """Waits until the last checkpoint is written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """Waits likewise; nothing can be saved from then on."""
        try:
            self.finish()
        finally:
            self._writer.shutdown()


def _copied(content: Any) -> Any:
    """The same, with tensors of its own in main memory."""
    if isinstance(content, torch.Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        return {key: _copied(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(_copied(value) for value in content)
    return content


def _bytes(content: Any) -> int:
    if isinstance(content, torch.Tensor):
        return content.nbytes
    values = content.values() if isinstance(content, dict) else content
    return sum(map(_bytes, values)) if isinstance(content, dict | list | tuple) else 0
