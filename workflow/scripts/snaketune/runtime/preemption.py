"""A warning before a job's end: SIGTERM, as SLURM sends it ahead of a kill, or SIGUSR1.

Most work is kept as it is done, so a warned job ends at once. A training, whose checkpoints are
seldom, defers the end to its next step and saves first. Light: every job imports this.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Warned(BaseException):
    """The job was warned and ends; what it has done is kept. No `Exception`, so that nothing that
    handles faults on the way takes it for one."""


_heard: str | None = None
_deferred = False


def listen() -> None:
    """From here on a warning ends the job by `Warned`. For the main thread of a process."""
    for number in SIGNALS:
        signal.signal(number, _hear)


def heard() -> str | None:
    """The name of the signal that warned the job, if one did."""
    return _heard


def end_if_warned() -> None:
    """Raises `Warned` after a warning whose own raise was lost: Python drops what is raised while
    it runs a destructor or a callback of C code."""
    if _heard and not _deferred:
        raise Warned(f"{_heard} said that the job is about to be ended")


@contextmanager
def deferred() -> Iterator[None]:
    """Inside, a warning is only noted: whoever works here asks `heard` and ends the job."""
    global _deferred
    end_if_warned()
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def _hear(number: int, frame: FrameType | None) -> None:
    global _heard
    _heard = signal.Signals(number).name
    end_if_warned()
