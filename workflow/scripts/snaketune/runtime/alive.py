"""Who works in a folder: a start that is stopped leaves no job behind, and the locks of one that
was killed don't stop the next one.

Snakemake locks the files that a start makes by files of its own, without saying whose they are, and
takes them away at its end: after a kill, a lost connection or a power cut they stay, and every
further start is refused. Here each start and each of its jobs holds a shared `flock` on one file,
which ends with the process, however that ends. A start that gets it alone knows that nobody works
here.
"""

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from snaketune.runtime.job import ALIVE, HELD, START, process_mark

_LOCKS = Path(".snakemake/locks")


def works_beside() -> bool:
    """Whether another start, or a job that one left, works in this folder. Asks without a trace."""
    if HELD:
        return False
    try:
        descriptor = os.open(ALIVE, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)  # and with it the lock
    return False


def begin_dry_run() -> list[str]:
    """What `begin_start` would say, for who only looks: nothing is removed and nothing held."""
    if works_beside():
        return ["another start works in this folder, or a job that one left"]
    if not _locks():
        return []
    left_by = ALIVE.read_text(errors="replace").split() if ALIVE.is_file() else []
    return _staying(left_by) or ["the start before was killed; the next one goes on where it was"]


def begin_start() -> list[str]:
    """For a start, before Snakemake takes its locks: removes those that nobody holds any more.

    Returns a line about what it found, where there is something to say. Locks from another host
    stay, since a `flock` may not be seen from here, and those of a start that had jobs on a
    cluster, since they may still run there.
    """
    try:
        ALIVE.parent.mkdir(exist_ok=True)
        descriptor = os.open(ALIVE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        return []  # Snakemake says what it needs to write, if it does.
    HELD.append(descriptor)
    locks = _locks()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if not _was_killed(_left_by(descriptor)):
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return [f"another start works in this folder, or a job that one left{_by(descriptor)}"]
        print(
            "note: the start before was killed; its jobs save what they have and end first"
            f"{_by(descriptor)}",
            file=sys.stderr,
        )
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    left_by = _left_by(descriptor)
    if locks and (staying := _staying(left_by)):
        return staying
    for lock in locks:
        lock.unlink(missing_ok=True)
    note_place("here")
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return ["the start before was killed; this one goes on where it was"] if locks else []


def _left_by(descriptor: int) -> list[str]:
    """Host, place and process of the start that was here last."""
    return os.pread(descriptor, 1000, 0).decode(errors="replace").split()


def _was_killed(left_by: list[str]) -> bool:
    """Whether that start ran here with its jobs and is no more: then they end, too."""
    host, place, mark = [*left_by, "", "", ""][:3]
    if (host, place) != (socket.gethostname(), "here") or not mark:
        return False
    return process_mark(int(mark.partition(":")[0])) != mark


def _staying(left_by: list[str]) -> list[str]:
    """Why locks stay; `left_by` are the host and the place of the start that left them."""
    if left_by[:1] not in ([], [socket.gethostname()]):
        return [f"the locks of a start on {left_by[0]} stay: {_IF_ENDED}"]
    if left_by[1:2] == ["cluster"]:
        return [f"the locks of a start that submitted jobs to the cluster stay: {_IF_ENDED}"]
    return []


def _locks() -> list[Path]:
    return sorted(_LOCKS.glob("*.lock"))


_IF_ENDED = "if it has ended, and its jobs with it, run the same command with --unlock once"


def note_place(place: str) -> None:
    """Notes whether the jobs of this start run `here` or on a `cluster`."""
    mark = process_mark(os.getpid()) or ""
    ALIVE.write_text(f"{socket.gethostname()} {place} {mark}\n", encoding="utf-8")


def _by(descriptor: int) -> str:
    """The processes that hold it, where the system tells."""
    inode = str(os.fstat(descriptor).st_ino)
    try:
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return ""
    # "1: FLOCK ADVISORY READ 4242 fe:00:1234 0 EOF", with the process and the inode.
    found = {r[4] for r in rows if r[1] == "FLOCK" and r[5].rpartition(":")[2] == inode}
    others = sorted(found - {str(os.getpid())}, key=int)
    return f" (process {', '.join(others)})" if others else ""


def stop_jobs_too() -> None:
    """From here on Ctrl-C, or the end of the terminal, stops this start and its jobs, which save
    what they have done; a second Ctrl-C doesn't wait for that. Snakemake alone would wait for its
    jobs, which hear of it only where they belong to the same terminal."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGHUP, _stop)
    os.environ[START] = process_mark(os.getpid()) or ""


def leave_ctrl_c_to_jobs() -> None:
    """For a start whose only job talks with who sits at the terminal."""
    signal.signal(signal.SIGINT, lambda number, frame: None)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, _stop_at_once)
    with suppress(OSError):  # The terminal may be gone.
        # Not by `print`, which may be at work where the signal came.
        os.write(2, _STOPPING)
    _all_below(psutil.Process.terminate)
    raise KeyboardInterrupt


_STOPPING = (
    b"stopping: jobs save what they have done; Ctrl-C again ends them at once. "
    b"The same command goes on.\n"
)


def _stop_at_once(number: int, frame: FrameType | None) -> None:
    _all_below(psutil.Process.kill)
    # Snakemake's own way out waits; the next start removes the locks.
    os._exit(130)


def _all_below(end: Callable[[psutil.Process], None]) -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            end(process)
