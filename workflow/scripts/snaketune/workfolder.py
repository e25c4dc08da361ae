"""Where a job keeps what it needs to go on after a kill."""

import shutil
from pathlib import Path

from snaketune.identity import digest


def work_folder(base: Path, identity: object) -> Path:
    """`base/{key}`, made if it isn't there, where `key` stands for all that defines the job.

    What other keys left under `base` belongs to other settings: it is removed, never continued.
    """
    folder = base / digest(identity)
    for other in base.glob("*") if base.is_dir() else ():
        if other != folder:
            _remove(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def finish(folder: Path) -> None:
    """Removes the folder of a job whose outputs are published, and its parent once empty.

    It is renamed first, so that a kill on the way leaves no half of it to be continued.
    """
    gone = folder.with_name(f"{folder.name}.done")
    folder.rename(gone)
    shutil.rmtree(gone)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
