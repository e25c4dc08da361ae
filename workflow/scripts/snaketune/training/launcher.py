"""torch's launcher of several processes, none of which outlives the job that they are of.

A job that is killed has no time to end what it started, and processes that train on would write
beside those of the next attempt. So the kernel is asked to kill each with the one above it.
"""

import ctypes
import os
import signal
import sys

_PARENT = "SNAKETUNE_PARENT"
_PR_SET_PDEATHSIG = 1


def under_me(environment: dict[str, str]) -> dict[str, str]:
    """The environment for a process that calls `end_with_parent`."""
    return environment | {_PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """From here on this process is killed when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before it was asked.
    if os.getppid() != int(os.environ[_PARENT]):
        raise SystemExit(1)


def end_all() -> None:
    """Ends the launcher, and so every process under it, this one included. A process that fails
    would leave the others waiting for it in a collective operation, where no signal reaches them
    but this one."""
    sys.stderr.flush()
    sys.stdout.flush()
    os.kill(int(os.environ[_PARENT]), signal.SIGKILL)


def main() -> None:
    """Runs `torchrun` with this process's arguments."""
    end_with_parent()
    # A warning before the job's end may come to every process of it, and torchrun hears only
    # SIGTERM: of this one it would die, and its processes with it, before they have saved.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    from torch.distributed.run import main as torchrun

    os.environ.update(under_me({}))
    torchrun()


if __name__ == "__main__":
    main()
