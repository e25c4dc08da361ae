"""Files and folders that are there whole or not at all, on a disk that may be full."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snaketune.runtime.errors import UserError

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
