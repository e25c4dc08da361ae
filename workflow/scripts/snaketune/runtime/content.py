"""What content is known by: digests of plain values and hashes of files, which identify a step, and
the record beside what a step made.

Hashes of large files are remembered in the user's cache from one process to the next. A record
holds for one path while size, times and inode stay as they were. The time of the last change of
the inode (ctime) is the kernel's own: no program sets it, so content that was replaced by as many
bytes under the old modification time is noticed too. No cache fails a job: what can't be read or
written there is hashed again.

An artefact's own record tells its provenance: which step made it, of which code, under which
settings. Tables and report read the settings there, never from the config of the moment. It holds
the hashes of what the step left beside it, and its own, by which the next job notices damage.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_json

_SMALL = 65536  # bytes; a smaller file is read faster than it is remembered
_AT_ONCE = 1 << 26  # bytes; less is hashed faster than threads begin
_READERS = 4  # files at once; with more, disks are what takes the time


def digest(value: object) -> str:
    """12 hex digits of `value` as canonical JSON: key order and machine play no part."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_asked: dict[tuple[Any, ...], str] = {}
"""What this process asked for: a plan asks for the same models job by job."""


def content_hash(path: Path) -> str:
    """`file_hash`, which for a file that is as it was last time takes no reading."""
    seen = Seen(path)
    if (known := _asked.get(seen.mark)) is None:
        known = _content_hash(seen)
        if seen.settled and Seen(path).mark == seen.mark:
            _asked[seen.mark] = known
    return known


def _content_hash(seen: "Seen") -> str:
    if seen.size < _SMALL:
        return file_hash(seen.path)
    known = seen.recall()
    if known is None:
        known = file_hash(seen.path)
        seen.remember(known)
    return known


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """`content_hash` of each; what takes a while several at once, as hashing leaves the interpreter
    to others."""
    if sum(path.stat().st_size for path in paths) < _AT_ONCE:
        return list(map(content_hash, paths))
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(content_hash, paths))


def cache_root() -> Path:
    """Where things are kept that are worth finding again, for all experiments of a user:
    `$SNAKETUNE_CACHE`, else `snaketune` in the user's cache folder."""
    if chosen := os.environ.get("SNAKETUNE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snaketune"


_SETTLED = 2.0  # seconds: two changes within one tick of a file system's clock look like one


class Seen:
    """A file as it is found now: what it is known by, from before its content is read."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        found = self.path.stat()
        self.size = found.st_size
        times = [found.st_mtime_ns, found.st_ctime_ns]
        self.mark = (str(self.path), found.st_size, *times, found.st_ino)
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
        return {"mark": list(self.mark), "sha256": sha256, "seal": seal}


MADE_BY, SETTINGS, AS_MADE = "made_by", "settings", "as_made"


def sign(
    file: Path, made_by: Mapping[str, Any], outputs: Iterable[str | Path] = (), **settings: Any
) -> None:
    """Adds to the JSON object in `file` who made it, the `settings` that decided it, and what it
    and the other `outputs`, files or folders, are known by.

    A file that was joined from signed ones keeps their settings, and names all its makers.
    """
    record = json.loads(file.read_text(encoding="utf-8"))
    record[MADE_BY] = [*record.get(MADE_BY, []), dict(made_by)]
    record[SETTINGS] = settings_of(record) | settings
    beside = [found for found in _files_in(outputs) if not found.samefile(file)]
    names = [os.path.relpath(found, file.parent) for found in beside]
    hashes = dict(sorted(zip(names, content_hashes(beside), strict=True)))
    record[AS_MADE] = {"files": hashes, "seal": _seal(record, hashes)}
    write_json(file, record)


def unsigned(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as it was before it was signed."""
    return {key: value for key, value in record.items() if key not in (MADE_BY, SETTINGS, AS_MADE)}


def _files_in(places: Iterable[str | Path]) -> Iterator[Path]:
    for place in map(Path, places):
        if place.is_dir():
            yield from sorted(found for found in place.rglob("*") if found.is_file())
        else:
            yield place


def _seal(record: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """Of all that a record says, as it is read again."""
    said = {key: value for key, value in record.items() if key != AS_MADE}
    return digest(json.loads(json.dumps([said, hashes])))


def require_as_made(places: Iterable[str | Path]) -> None:
    """Raises `UserError` for the first file that is not as the step left it that made it: other
    numbers would follow from it, and nothing would tell. Of a large one the hash is remembered, so
    that it is read once and not by every job. What was made before records had hashes passes; what
    can't be read at all is named by whoever reads it."""
    for found in _files_in(places):
        if _hashes_in(found) is not None:
            continue
        for record in _records_beside(found):
            if (hashes := _hashes_in(record)) is None:
                continue
            made = hashes.get(os.path.relpath(found, record.parent))
            if made and found.is_file() and content_hash(found) != made:
                raise _changed(found, f"that {record} says")
            if made or not hashes:
                break


def _hashes_in(record: Path) -> dict[str, str] | None:
    """What a step's record says of the files beside it, nothing if it is from before records said
    so; None where it is none."""
    try:
        found = json.loads(record.read_bytes()) if record.suffix == ".json" else None
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or MADE_BY not in found:
        return None
    if not isinstance(made := found.get(AS_MADE), dict):
        return {}
    hashes: dict[str, str] = made.get("files", {})
    if made.get("seal") != _seal(found, hashes):
        raise _changed(record, "that it was signed with")
    return hashes


def _changed(file: Path, content: str) -> UserError:
    return UserError(
        f"{file}: found other content than it was made with; expected the one {content} (a disk "
        "that failed, a copy that broke off, a change by hand?). Delete this file: it is made again"
        " where a step needs it"
    )


def _records_beside(file: Path) -> Iterator[Path]:
    """Where the record of the step may lie that made a file of results (see docs/architecture.md):
    by the file's name, the folder's, or the step's. Those first of which there are thousands: a
    look for what is not there takes its time on a shared disk."""
    folder = file.absolute().parent
    if folder.parent.name == "scores":
        yield folder.parent.parent / "metrics" / folder.name / f"{file.stem}.json"
    yield file.with_suffix(".meta.json")
    yield file.with_suffix(".json")
    yield from map(file.with_name, ("stats.json", "manifest.json", "final_metrics.json"))
    yield folder.parent / f"{folder.name}.json"
    for above in (folder, folder.parent, folder.parent.parent):
        yield from (above / "train_meta.json", above / "adapter.json")


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an artefact was made under, by its record."""
    return record.get(SETTINGS, {})


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"lora": {"r": 8}}` as `{"lora_r": 8}`; lists as text."""
    row: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            row |= flat(value, f"{prefix}{key}_")
        else:
            row[prefix + key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return row


FINAL_METRICS = "tables/final_metrics.json"
"""Of an experiment's folder: what its runs arrived at, by which a finished one is known."""


def earlier_content(folder: str | None) -> str | None:
    """What an earlier experiment's results in `folder` are known by; None: there is none."""
    if folder is None:
        return None
    files = [Path(folder, FINAL_METRICS), *sorted(Path(folder).glob("scores/*/*"))]
    return digest(content_hashes(files))
