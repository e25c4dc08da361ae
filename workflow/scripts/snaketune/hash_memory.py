"""Hashes of large files, remembered in the user's cache from one process to the next.

A record holds for one path while size, times and inode stay as they were. The time of the last
change of the inode (ctime) is the kernel's own: no program sets it, so content that was replaced
by as many bytes under the old modification time is noticed too. Nothing here fails: what can't be
read or written is hashed again.
"""

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from snaketune.user_cache import cache_root

_SETTLED = 2.0  # seconds: two changes within one tick of a file system's clock look like one


class Seen:
    """A file as it is found now: what it is known by, from before its content is read."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        found = self.path.stat()
        self.size = found.st_size
        times = [found.st_mtime_ns, found.st_ctime_ns]
        self.mark = [str(self.path), found.st_size, *times, found.st_ino]
        now = time.time()
        # A program may have set the modification time, to a date to come too.
        self.settled = now - found.st_ctime > _SETTLED and abs(now - found.st_mtime) > _SETTLED

    def recall(self) -> str | None:
        """The hash that is remembered of the file as it is."""
        try:
            record = json.loads(self._file().read_bytes())
            return record["sha256"] if record == self._record(record["sha256"]) else None
        except (OSError, RuntimeError, ValueError, TypeError, KeyError):
            return None

    def remember(self, sha256: str) -> None:
        """Keeps the hash, unless the file changed meanwhile, or so shortly before it was looked at
        that another change could not be told from that one."""
        try:
            if self.settled and Seen(self.path).mark == self.mark:
                self._write(json.dumps(self._record(sha256)))
        except (OSError, RuntimeError):
            pass

    def _write(self, text: str) -> None:
        file = self._file()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            temporary.write_text(text)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def _file(self) -> Path:
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:24]
        return cache_root() / "hashes" / f"{name}.json"

    def _record(self, sha256: str) -> dict[str, Any]:
        """With a seal, which tells that a record was damaged: a wrong hash would pass for another
        model's."""
        seal = hashlib.sha256(json.dumps([self.mark, sha256]).encode()).hexdigest()[:12]
        return {"mark": self.mark, "sha256": sha256, "seal": seal}
