"""The process that `sitecustomize` hands to: one fork for each request, with the imports done.

python server.py ADDRESS PACKAGE … It ends with its standard input, so with the tests that started
it.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sitecustomize import read_by_packages


@dataclass
class Request:
    """What a process was started with, and its standard streams."""

    values: dict[str, Any]
    files: list[int]


def received(connection: socket.socket) -> Request | None:
    """Nothing where the other side went its own way."""
    head, files, _, _ = socket.recv_fds(connection, 8, 3)
    if len(head) < 8:
        return None
    size, message = int.from_bytes(head, "big"), b""
    while len(message) < size and (part := connection.recv(size - len(message))):
        message += part
    return Request(json.loads(message), files)


def serve(listener: socket.socket, environment: dict[str, str]) -> Request:
    """A fork for each that calls; returns in the one that is to run a request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for those forks.
    while True:
        ready, _, _ = select.select([0, listener], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            connection.sendall(json.dumps(environment).encode() + b"\n")
            return started(connection)
        connection.close()


def started(connection: socket.socket) -> Request:
    """Runs the request in a fork, where this returns, and tells its end to who asked for it."""
    request = received(connection)
    if request is None:
        os._exit(0)
    child = os.fork()
    if child == 0:
        connection.close()
        return request
    for file in request.files:
        os.close(file)
    connection.sendall(f"{child}\n".encode())

    def follow() -> None:
        """Where who waits for it was killed, it is killed."""
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    threading.Thread(target=follow, daemon=True).start()
    _, status = os.waitpid(child, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def become(request: Request) -> None:
    """Runs what was asked for as Python would: its folder, environment, streams and path."""
    for number, file in enumerate(request.files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False, buffering=1 if os.isatty(1) else -1)
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1, errors="backslashreplace")
    values = request.values
    os.chdir(values["folder"])
    os.environ.clear()
    os.environ.update(values["environment"])
    # What a process of its own would have drawn anew.
    random.seed()
    tempfile.tempdir = None
    sys.orig_argv = values["arguments"]
    sys.path[:] = values["path"]
    importlib.invalidate_caches()
    _, first, *others = values["arguments"]
    if first == "-m":
        sys.argv = others
        sys.path.insert(0, values["folder"])
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
        return
    sys.argv = [first]
    sys.path.insert(0, str(Path(first).parent))
    main = types.ModuleType("__main__")
    main.__file__ = first
    sys.modules["__main__"] = main
    exec(compile(Path(first).read_bytes(), first, "exec"), vars(main))


def listen(address: str, packages: list[str]) -> socket.socket:
    """Imports the packages, and only then can be called. One that is missing is imported, and
    missed, by who needs it."""
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".part")
    listener.listen(16)
    Path(address + ".part").rename(address)
    return listener


if __name__ == "__main__":
    environment = read_by_packages()
    become(serve(listen(sys.argv[1], sys.argv[2:]), environment))
