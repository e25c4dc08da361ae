"""How a rule's script runs: output to the rule's log, errors that end with what to do, lines that
say how far the work is, and an end ahead of time.

A job is warned before its end by SIGTERM, as SLURM sends it ahead of a kill, or SIGUSR1, by SIGINT
(Ctrl-C) or by SIGHUP, when the terminal is gone. Most work is kept as it is done, so a warned job
ends at once. A training, whose checkpoints are seldom, defers the end to its next step and saves
first; a second Ctrl-C does not wait for that. Light: every job imports this.
"""

import fcntl
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TextIO, cast

from snaketune.runtime.content import require_as_made
from snaketune.runtime.devices import claim_devices
from snaketune.runtime.errors import fault_lines, in_terminal, is_told

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
LISTING, LINES = "SNAKETUNE_LISTING", "lines"
"""An environment variable; `lines`: the start shows what stands in the logs (see
runtime/listing.py), and jobs write nowhere else; `snakemake`: Snakemake's own listing."""


class Preempted(BaseException):
    """The job was warned and ends; what it has done is kept. No `Exception`, so that nothing that
    handles faults on the way takes it for one."""


_signal: str | None = None
_is_deferred = False
_is_orphaned = False


def end_on_preemption() -> None:
    """From here on a warning ends the job by `Preempted`. For the main thread of a process."""
    for number in (*SIGNALS, signal.SIGALRM):
        signal.signal(number, _on_signal)


def preemption_signal() -> str | None:
    """The name of the signal that warned the job, if one did."""
    return _signal


def preemption_reason() -> str:
    """Why the job ends, in words."""
    if _is_orphaned:
        return "the start that it belongs to was killed"
    if _signal == "SIGALRM":
        return "the time that `resources: {minutes: N}` grants is over"
    return f"{_signal or 'a signal to another process'} said that the job is about to be ended"


def end_if_preempted() -> None:
    """Raises `Preempted` after a warning whose own raise was lost: Python drops what is raised
    while it runs a destructor or a callback of C code."""
    if _signal and not _is_deferred:
        raise Preempted(preemption_reason())


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
    name = signal.Signals(number).name
    if number == signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
    if _signal in (None, name):  # another one brings the same news
        _signal = name
        end_if_preempted()


_GO_ON = (
    "What was done is kept. What to do: nothing where the job is tried again (`retries`); else "
    "start the same command again: it goes on from there."
)


class _Plain:
    """Writes to the log, and where it is to be seen to the terminal: what others wrote must do
    nothing there, and is made visible."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        shown = in_terminal(text)
        for stream in self.streams:
            stream.write(shown)
            stream.flush()
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        """The terminal's, for libraries that redirect the descriptor behind a stream."""
        return self.streams[-1].fileno()


ALIVE = Path(".snakemake/alive")
HELD: list[int] = []
"""Descriptors, open until the process ends."""


def _hold() -> None:
    """Notes that a job works in this folder, where starts do so (see runtime/alive.py)."""
    with suppress(OSError):
        HELD.append(os.open(ALIVE, os.O_RDWR))
        fcntl.flock(HELD[-1], fcntl.LOCK_SH | fcntl.LOCK_NB)


START = "SNAKETUNE_START"
"""An environment variable of jobs on the machine of their start: that start's `process_mark`."""


def process_mark(pid: int) -> str | None:
    """A process, told from a later one of the same number by when it began; None where it has
    ended, or the system doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{pid}:{fields[19]}"


def _end_with_start() -> None:
    """A start that is killed can't stop its jobs, and the next one must not work beside them."""
    start = os.environ.get(START)
    if not start or process_mark(int(start.partition(":")[0])) is None:
        return

    def watch() -> None:
        global _is_orphaned
        while process_mark(int(start.partition(":")[0])) == start:
            time.sleep(1)
        _is_orphaned = True
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _keep_libraries_quiet() -> None:
    """Bars that repaint themselves and notes to developers bury what a log is read for."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@contextmanager
def job(
    log: str,
    gpu: int | None = None,
    minutes: float | None = None,
    *,
    reads: Iterable[str] = (),
    looks: bool = False,
) -> Iterator[None]:
    """Runs a script's body with stdout and stderr in the file `log`. What it `reads` has to be as
    it was made. One that only `looks` at what is there, as long as it likes, is none that works in
    this folder.

    A warning before its end ends it with what it has done kept, and so do its `minutes` where they
    are over (0 or None: no limit). With `gpu`, the GPUs that Snakemake granted, the job takes that
    many devices for itself, and its output goes to the terminal too unless the start shows lines of
    its own. A `UserError` ends the process with its message alone, anything else with the
    traceback; all end the log with what to do.
    """
    # Before torch is loaded: on busy cores, threads that spin at barriers made small models ten
    # times slower (measured: 320 replies of the demo model in 15 s, in 1.2 s with this; training on
    # shared cores 20 times).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _keep_libraries_quiet()
    if not looks:
        _hold()
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    out, err = sys.stdout, sys.stderr
    with Path(log).open("a", buffering=1, encoding="utf-8") as file:
        quiet = gpu is None or os.environ.get(LISTING) == LINES
        sys.stdout = sys.stderr = cast(TextIO, _Plain(file) if quiet else _Plain(file, err))
        try:
            end_on_preemption()
            _end_with_start()
            if minutes:
                signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
            require_as_made(reads)
            if gpu is not None:
                claim_devices(gpu)
            yield
        except Preempted as warning:
            print(f"stopped: {warning}. {_GO_ON}", file=sys.stderr)
            raise SystemExit(1) from None
        except Exception as error:
            if not is_told(error):
                traceback.print_exc()
            print(fault_lines(error), file=sys.stderr)
            raise SystemExit(1) from None
        finally:
            if minutes:
                signal.setitimer(signal.ITIMER_REAL, 0)
            sys.stdout, sys.stderr = out, err


def duration(seconds: float) -> str:
    """`38 s`, `4 min 5 s`, `2 h 10 min`"""
    if seconds < 60:
        return f"{seconds:.3g} s"
    units = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")]
    for (size, name), (smaller, small_name) in pairwise(units):
        if seconds >= size:
            rest = int(seconds % size / smaller)
            return f"{int(seconds // size)} {name}" + (f" {rest} {small_name}" if rest else "")
    raise AssertionError(seconds)


class Progress:
    """Counts `unit`s towards `total` and prints a line with rate and time left, for logs and
    terminals alike, at most every `every` seconds."""

    def __init__(self, total: int, unit: str, every: float = 5.0, done: int = 0) -> None:
        self.total, self.unit, self.every = total, unit, every
        self.done = self._resumed_at = done
        self._start = self._last = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        """Counts `n` more; `note` is appended to the line, where one is due."""
        self.done += n
        now = time.monotonic()
        if now - self._last >= self.every or self.done >= self.total:
            self._last = now
            print(self.line(now, note), file=sys.stderr, flush=True)

    def line(self, now: float, note: str = "") -> str:
        """`120/320 rows, 38.2 rows/s, 0:05 left, loss 0.41`"""
        rate = (self.done - self._resumed_at) / max(now - self._start, 1e-9)
        left = int((self.total - self.done) / rate) if rate else 0
        text = f"{self.done}/{self.total} {self.unit}, {rate:.3g} {self.unit}/s, "
        text += f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return f"{text}, {note}" if note else text
