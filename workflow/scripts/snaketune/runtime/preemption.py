"""Preemption: a job is warned before its end by SIGTERM, as SLURM sends it ahead of a kill, or
SIGUSR1.

Most work is kept as it is done, so a warned job ends at once. A training, whose checkpoints are
seldom, defers the end to its next step and saves first. Light: every job imports this.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(BaseException):
    """The job was warned and ends; what it has done is kept. No `Exception`, so that nothing that
    handles faults on the way takes it for one."""


_signal: str | None = None
_is_deferred = False


def end_on_preemption() -> None:
    """From here on a warning ends the job by `Preempted`. For the main thread of a process."""
    for number in SIGNALS:
        signal.signal(number, _on_signal)


def preemption_signal() -> str | None:
    """The name of the signal that warned the job, if one did."""
    return _signal


def end_if_preempted() -> None:
    """Raises `Preempted` after a warning whose own raise was lost: Python drops what is raised
    while it runs a destructor or a callback of C code."""
    if _signal and not _is_deferred:
        raise Preempted(f"{_signal} said that the job is about to be ended")


@contextmanager
def preemption_deferred() -> Iterator[None]:
    """Inside, a warning is only noted: whoever works here asks for the `preemption_signal` and ends
    the job."""
    global _is_deferred
    end_if_preempted()
    _is_deferred = True
    try:
        yield
    finally:
        _is_deferred = False


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _signal
    _signal = signal.Signals(number).name
    end_if_preempted()
