"""Passes a training's points on to trackers that the user looks at while it runs.

Optional, and no part of what a training is: nothing here changes a result, and a tracker that
fails later than at its beginning is told of and left. Tokens are the packages' own affair, which
take them from the environment.
"""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_json

_TRAINING = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "epoch")
_DEV = ("dev_loss", "dev_accuracy")
_KEPT_BACK = {"WANDB_CONSOLE": "off", "WANDB_DISABLE_GIT": "true", "WANDB_DISABLE_CODE": "true"}
"""What Weights & Biases takes along by itself, unless the environment says otherwise."""
_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")


@dataclass(frozen=True)
class Tracking:
    """Which trackers, and under what name they show the training."""

    names: Sequence[str] = ()
    """Of `tensorboard`, `wandb` and `trackio`."""
    project: str = ""
    run: str = ""


class Tracker(Protocol):
    """Where points go."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Shows `values` at `step`; each step comes once."""

    def close(self, failed: bool) -> None:
        """Nothing comes after this."""


def require_trackers(names: Sequence[str]) -> None:
    """Raises `UserError` where a tracker's package is missing."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(
            f"report_to: found {', '.join(missing)}, which is not installed here; expected the "
            f"package: pip install {' '.join(missing)} (or leave it out of report_to)"
        )


class Trackers:
    """All trackers of a training, and how far each has come."""

    def __init__(self, trackers: dict[str, Tracker], sent: Path) -> None:
        self.trackers, self.sent = trackers, sent
        self.last: dict[str, int] = _read(sent).get("last", {})

    def log(self, row: dict) -> None:
        """Sends a step's row of the training log, with its scores on dev, to those that have not
        had it. What is sent is noted first: a kill in between loses a point on its way, but none
        is ever there twice."""
        values = {f"train/{name}": row[name] for name in _TRAINING if name in row}
        values |= {f"dev/{name[4:]}": row[name] for name in _DEV if name in row}
        due = [name for name in self.trackers if self.last.get(name, 0) < row["step"]]
        if not due:
            return
        self.last |= dict.fromkeys(due, row["step"])
        write_json(self.sent, _read(self.sent) | {"last": self.last})
        for name in due:
            self._try(name, lambda tracker: tracker.log(row["step"], values))

    def close(self, failed: bool) -> None:
        """Ends all of them."""
        for name in list(self.trackers):
            self._try(name, lambda tracker: tracker.close(failed))

    def _try(self, name: str, act: Callable[[Tracker], None]) -> None:
        try:
            act(self.trackers[name])
        except Exception as error:  # a package of others: what it raises is not known
            del self.trackers[name]
            print(f"report_to: {name}: {_plain(error)}; going on without it", file=sys.stderr)


@contextmanager
def open_trackers(
    tracking: Tracking, settings: dict, results: Path, work: Path, log: list[dict]
) -> Iterator[Trackers]:
    """Begins the trackers, or takes them up where a killed training left them, and hands them what
    `log` holds already. `results` is where local files go; in `work`, which lasts as long as the
    training, stands what is sent."""
    sent = work / "tracked.json"
    if tracking.names and not sent.exists():
        write_json(sent, {"id": secrets.token_hex(4)})
    begun = {
        name: _begin(name, tracking, settings, results, _read(sent)["id"])
        for name in tracking.names
    }
    trackers = Trackers(begun, sent)
    # Event files are written anew each time, so that no point in them is from before a kill.
    trackers.last.pop("tensorboard", None)
    for row in _by_step(log):
        trackers.log(row)
    try:
        yield trackers
    except BaseException:
        trackers.close(failed=True)
        raise
    trackers.close(failed=False)


def _begin(name: str, tracking: Tracking, settings: dict, results: Path, key: str) -> Tracker:
    try:
        if name == "tensorboard":
            return _TensorBoard(results)
        return _BEGIN[name](tracking, settings, results, key)
    except Exception as error:  # a package of others: what it raises is not known
        raise UserError(
            f"report_to: {name} could not begin ({_plain(error)}); expected it to be set up: "
            f"{_SET_UP[name]}"
        ) from None


class _TensorBoard:
    """Event files in a folder `tensorboard` beside the training's results."""

    def __init__(self, results: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(results / "tensorboard", ignore_errors=True)
        self._writer = SummaryWriter(str(results / "tensorboard"))

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, failed: bool) -> None:
        self._writer.close()


class _WandB:
    """A run of Weights & Biases; its name is the training's, its id lasts as long as that."""

    def __init__(self, tracking: Tracking, settings: dict, results: Path, key: str) -> None:
        # What a job prints belongs to its log, and changes in the folder to whoever makes them.
        for name, value in _KEPT_BACK.items():
            os.environ.setdefault(name, value)
        results.mkdir(parents=True, exist_ok=True)
        self._run = import_module("wandb").init(
            project=tracking.project,
            name=tracking.run,
            id=f"{tracking.run}-{key}",
            resume="allow",
            dir=str(results),
            config=settings,
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class _Trackio:
    """A run of trackio, which takes runs up by their name."""

    def __init__(self, tracking: Tracking, settings: dict, results: Path, key: str) -> None:
        name = f"{tracking.run}-{key}"
        self._run = import_module("trackio").init(
            project=tracking.project, name=name, resume="allow", config=settings, embed=False
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self, failed: bool) -> None:
        self._run.finish()


_BEGIN: dict[str, Callable[..., Tracker]] = {"wandb": _WandB, "trackio": _Trackio}
_SET_UP = {
    "tensorboard": "a folder that can be written to",
    "wandb": "WANDB_API_KEY in the environment, or WANDB_MODE=offline",
    "trackio": "its settings (TRACKIO_…, HF_TOKEN) in the environment",
}


def _by_step(log: list[dict]) -> list[dict]:
    """The log's rows, those of one step together."""
    steps: dict[int, dict] = {}
    for row in log:
        steps.setdefault(row["step"], {}).update(row)
    return list(steps.values())


def _read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _plain(error: Exception) -> str:
    """The error in a line, without anything secret that the environment holds."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    for name, value in os.environ.items():
        if len(value) > 5 and any(word in name.upper() for word in _SECRET_NAMES):
            text = text.replace(value, "***")
    return text
