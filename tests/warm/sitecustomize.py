"""Hands a test's Snakemake and its jobs to a process that has imported what they import.

Python runs this file at its start where its folder is in `PYTHONPATH`, which `Project.snakemake`
sets. A job of the small models computes for a second and imports for eight; nothing but the import
of other people's packages is saved: code of the project is read anew by every job, its process is
one of its own, and what it prints, its signals and its exit code pass through. Everything else, and
whoever has another environment than the server's, starts as always.
"""

import os
import sys

# What packages read of the environment while they are imported.
_READ = ("HF_", "TRANSFORMERS_", "TORCH", "OMP_", "CUDA_", "HOME", "XDG_")


def read_by_packages() -> dict[str, str]:
    """What has to be the same for their import to be the same."""
    return {k: v for k, v in os.environ.items() if k.startswith(_READ)}


def _is_ours(arguments: list[str]) -> bool:
    """`python -m snakemake …`, and the scripts that Snakemake writes for jobs."""
    if arguments[1:3] == ["-m", "snakemake"]:
        return True
    return len(arguments) == 2 and "/.snakemake/scripts/" in arguments[1]


def _hand_over(address: str) -> None:
    import json
    import signal
    import socket

    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        stream = connection.makefile("r")
        theirs = json.loads(stream.readline())
    except (OSError, ValueError):
        return  # The server is not ready yet, or gone.
    if theirs != read_by_packages():
        return
    request = {
        "arguments": sys.orig_argv,
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
        "path": sys.path,
    }
    message = json.dumps(request).encode()
    socket.send_fds(connection, [len(message).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(message)
    child = int(stream.readline())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: os.kill(child, number))
    answer = stream.readline()
    if not answer:
        os._exit(1)  # The server was killed.
    status = int(answer)
    if status < 0:  # As a signal ended the child, one ends this process.
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    os._exit(status)


if (_address := os.environ.get("WARM_SERVER")) and _is_ours(sys.orig_argv):
    _hand_over(_address)
