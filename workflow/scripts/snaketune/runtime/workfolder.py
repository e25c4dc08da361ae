"""Where a job keeps what it needs to go on after a kill."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from snaketune.runtime.content import digest
from snaketune.runtime.errors import UserError

_PUBLISHED = "published"
_SECONDS_TO_BE_NOTED = 3600
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def work_folder(base: Path, identity: object, beside: Collection[str] = ()) -> Path:
    """`base/{key}`, made if it isn't there, where `key` stands for all that defines the job.

    What other keys left under `base` belongs to other settings: it is removed, never continued.
    Only the names in `beside` stay there: jobs that share `base` with this one, at the same time,
    may work in them, on other numbers where they run on another kind of device.
    """
    folder = base / digest(identity)
    for other in base.glob("*") if base.is_dir() else ():
        if other != folder:
            _remove(other, beside)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _PUBLISHED).unlink(missing_ok=True)
    return folder


def set_aside(folder: Path) -> None:
    """Marks the folder of a job that took long and whose outputs are published.

    It stays for a while: a job that is ended before Snakemake has noted its success loses its
    outputs, and its next attempt publishes them again from here. Of the jobs beside it, whose
    success was noted long ago, the folders go.
    """
    (folder / _PUBLISHED).touch()
    remove_set_aside(folder.parents[1], _SECONDS_TO_BE_NOTED)


def remove_set_aside(root: Path, older_than: float = 0.0) -> None:
    """Removes the folders under `root` that were set aside so many seconds ago or more."""
    # Unlike `rglob`, this passes over folders that another job removes meanwhile.
    for folder, _, files in list(os.walk(root)):
        if _PUBLISHED not in files:
            continue
        with suppress(FileNotFoundError):
            if time.time() - Path(folder, _PUBLISHED).stat().st_mtime >= older_than:
                finish(Path(folder))


@contextmanager
def held(base: Path, patience: float = 60.0) -> Iterator[None]:
    """Inside, no other process that asks so has `base`: two that work in one folder at once spoil
    each other's files. The kernel frees it when the process ends, SIGKILL included.

    Raises `UserError` where another one has it for longer than `patience` (seconds).
    """
    path = base.with_name(f".{base.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    while (file := _lock(path)) is None:
        if time.monotonic() > until:
            raise UserError(
                f"{base}: found another process that works there ({path.read_text() or 'unknown'})"
                "; expected none: wait for it, or end it"
            )
        time.sleep(0.1)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _lock(path: Path) -> IO[str] | None:
    """The file, locked; None while another process holds it."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may have removed it since it was opened here.
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            return file
    except OSError as error:
        if error.errno in _NO_LOCKS:
            print(f"note: {path.parent}: this file system has no locks; going on without one")
            return file
        if not isinstance(error, BlockingIOError):
            raise
    file.close()
    return None


def finish(folder: Path) -> None:
    """Removes the folder of a job whose outputs are published, and its parent once empty.

    It is renamed first, so that a kill on the way leaves no half of it to be continued.
    """
    gone = folder.with_name(f"{folder.name}.done")
    folder.rename(gone)
    shutil.rmtree(gone)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def forget(base: Path) -> None:
    """Removes whatever was kept of a job that is to begin anew. For when no job runs there."""
    _remove(base)


def begin(base: Path, code: str, anew: bool, strict: bool) -> None:
    """Before a job: forgets what is kept in `base` where it is to begin `anew`, or where, `strict`,
    other `code` began it; and notes beside it which code begins. For when no job runs there.

    Without `strict`, what other code of the same version began is gone on with, and stays its own.
    """
    note = base.with_name(f".{base.name}.code")
    begun_by = note.read_text() if note.is_file() else ""
    if anew or (strict and begun_by != code):
        forget(base)
    if not base.is_dir():
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(code)


def _remove(path: Path, spared: Collection[str] = ()) -> None:
    """Removes a file, or a folder but for what it holds of the names in `spared`. Other jobs may be
    removing it too, or begin to work under one of these names."""
    with suppress(FileNotFoundError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        for inside in list(path.iterdir()):
            if inside.name not in spared:
                _remove(inside)
        with suppress(OSError):
            path.rmdir()
