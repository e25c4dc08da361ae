"""A job's finished records on disk, while it works and after."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from snaketune.inference.made import Made
from snaketune.runtime.content import file_hash
from snaketune.runtime.files import write_json, write_jsonl

Key = tuple[str, int]


def key(record: dict) -> Key:
    """What a record is known by."""
    return record["id"], record.get("sample", 0)


class Part:
    """A folder with `records.jsonl`, a record a line, and, once they are published, `meta.json`:
    how they were made.

    Records without a meta are of a job that isn't done: all whole lines count. With a meta they
    are as they were published, or nothing of them counts: they may be the same file on disk as
    the published ones, and whoever writes into those means to change results, not what was made.
    Reading changes nothing, so that other jobs can do it at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file, self._meta = folder / "records.jsonl", folder / "meta.json"
        self._open: IO[str] | None = None
        self.made: Made | None = None
        """How the records were made; None while that isn't known."""
        lines = self._whole_lines()
        self.records = {key(record): record for record in _parsed(lines)}
        """The last record of each key."""
        self._size, self._lines = sum(map(len, lines)), len(lines)

    def _whole_lines(self) -> list[bytes]:
        """The lines that count."""
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return []
        kept = _read_meta(self._meta)
        if kept and kept["sha256"] != hashlib.sha256(content).hexdigest():
            print(f"note: {self._file}: changed since it was published, so it is not read")
            return []
        self.made = kept and kept["made"]
        return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)

    def append(self, record: dict) -> None:
        """Writes a record, which survives the process from here on."""
        self._open = self._open or self._begin()
        self._open.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._open.flush()
        self.records[key(record)] = record
        self._lines += 1

    def _begin(self) -> IO[str]:
        """Opens the records for more, behind the lines that count. From here on they are a job's
        that isn't done, and a file of their own."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._meta.unlink(missing_ok=True)
        self.made = None
        if self._file.exists() and self._file.stat().st_nlink > 1:
            own = self._file.with_suffix(".tmp")
            shutil.copyfile(self._file, own)
            own.replace(self._file)
        file = self._file.open("a", encoding="utf-8")
        file.truncate(self._size)
        return file

    def keep(self, published: Path, records: Sequence[dict], made: Made) -> None:
        """Leaves what was written for later jobs, once `records` stand in the file `published`:
        where these are the same, the two become one file on disk."""
        if self._open:
            self._open.close()
        if not self.records:
            return
        # Without a meta meanwhile: a kill here leaves records that count.
        self._meta.unlink(missing_ok=True)
        same = {key(r): r for r in records} == self.records
        if not (same and self._link(published)) and self._lines > len(self.records):
            write_jsonl(self._file, self.records.values())
        write_json(self._meta, {"sha256": file_hash(self._file), "made": self.made or made})

    def _link(self, published: Path) -> bool:
        """Whether the published file could be made the records' own."""
        new = self._file.with_suffix(".tmp")
        new.unlink(missing_ok=True)
        try:
            os.link(published, new)
        except OSError:  # Not every file system has hard links.
            return False
        new.replace(self._file)
        return True


def _parsed(lines: Sequence[bytes]) -> Iterator[dict]:
    """Records; a line that a crash of the machine spoilt is none."""
    for line in lines:
        try:
            record = json.loads(line)
            key(record)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        yield record


def _read_meta(path: Path) -> dict | None:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
