"""What was read from files that have not changed since."""

import hashlib
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from snaketune.runtime.content import cache_root
from snaketune.runtime.files import write_text
from snaketune.steps import normal

# A file that changes again within one tick of its file system's clock looks the same.
_SETTLED_AFTER = 2_000_000_000  # nanoseconds

State = list[int]
Reading = tuple[str, list[str]]


def file_state(path: Path) -> State:
    """Changes whenever the file's content does."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


class Memory:
    """Readings of the files under one folder, by name and state. A cache that is damaged, made by
    other code or can't be written only costs time."""

    def __init__(self, folder: Path) -> None:
        self._began = time.time_ns()
        self._new = False
        self._path: Path | None = None
        self._kept: dict[str, tuple[State, Reading]] = {}
        # There may be no home folder, nor a right to read what lies in it.
        with suppress(OSError, RuntimeError):
            name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
            self._path = cache_root() / "code" / f"{name}.json"
            seal, _, text = self._path.read_bytes().partition(b"\n")
            if seal.decode(errors="replace") == _seal(text):
                self._kept = json.loads(text)

    def get(self, name: str, state: State) -> Reading | None:
        known = self._kept.get(name)
        return known[1] if known and known[0] == state else None

    def put(self, name: str, state: State, reading: Reading) -> None:
        _, modified, changed, _ = state
        if max(modified, changed) < self._began - _SETTLED_AFTER:
            self._kept[name] = (state, reading)
            self._new = True

    def save(self) -> None:
        if self._new and self._path:
            text = json.dumps(self._kept, separators=(",", ":"))
            with suppress(OSError):
                write_text(self._path, f"{_seal(text.encode())}\n{text}")
            self._new = False


def _seal(text: bytes) -> str:
    """Holds for this content, as this code reads files under this Python."""
    seal = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for file in (__file__, normal.__file__):
        seal.update(Path(file).read_bytes())
    seal.update(text)
    return seal.hexdigest()
