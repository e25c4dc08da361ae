"""Records of a job that can be killed at any moment, and that later jobs find again: a line is
whole or it isn't there, and what was made once is not made again.

First their provenance (how they were made, for the file beside them), then the records of one job
on disk, then those of all jobs of one identity.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from snaketune.runtime.content import digest, file_hash
from snaketune.runtime.files import write_json, write_jsonl
from snaketune.runtime.job import end_if_preempted

Provenance = dict[str, Any]
RecordKey = tuple[str, int]

_REPLY, _SEAL = "reply_hash", "seal"
_USAGE = ("main_memory_bytes", "gpu_memory_bytes", "job_seconds")


def record_key(record: dict) -> RecordKey:
    """What a record is known by."""
    return record["id"], record.get("sample", 0)


def key_fields(record: dict) -> dict[str, Any]:
    """The fields of a record that make its key, for a record about it."""
    return {name: record[name] for name in ("id", "sample") if name in record}


def count_records(records: Collection[dict]) -> Provenance:
    """What is counted of the records themselves."""
    finishes = Counter(record["finish"] for record in records if "finish" in record)
    return {
        "finishes": dict(sorted(finishes.items())),
        "new_tokens": sum(record.get("new_tokens", 0) for record in records),
    }


def provenance_of_share(made: Provenance, share: float) -> Provenance:
    """How a `share` of a job's records were made: in that share of its time."""
    return made | ({"seconds": round(made["seconds"] * share, 3)} if "seconds" in made else {})


def provenance_of_found(metas: Sequence[Provenance], records: Collection[dict]) -> Provenance:
    """How `records` were made that jobs with these metas left, in the terms of the first."""
    first = metas[0] if len(metas) == 1 else join_provenance(metas)
    return first | {name: count for name, count in count_records(records).items() if name in first}


def join_provenance(metas: Sequence[Provenance]) -> Provenance:
    """The first part's, with counts and times added up and the sizes of all."""
    finishes: Counter[str] = Counter()
    for part in metas:
        finishes.update(part["finishes"])
    seconds = sum(m["seconds"] for m in metas)
    # Of the parts' rates: one that was killed made some of its tokens in seconds not counted here.
    timed = sum(m["seconds"] * m["tokens_per_second"] for m in metas)
    return metas[0] | {
        "finishes": dict(sorted(finishes.items())),
        "batch_sizes": sorted({size for m in metas for size in m["batch_sizes"]}),
        "largest_batch": max(m["largest_batch"] for m in metas),
        "seconds": round(seconds, 3),
        "new_tokens": sum(m["new_tokens"] for m in metas),
        "tokens_per_second": round(timed / max(seconds, 1e-9), 1),
        **{name: _most(metas, name) for name in _USAGE},
        "energy_joules": _sum(metas, "energy_joules"),
        "resumed_records": sum(m["resumed_records"] for m in metas),
    }


def _most(metas: Sequence[Provenance], name: str) -> float | None:
    return max((m[name] for m in metas if m.get(name) is not None), default=None)


def _sum(metas: Sequence[Provenance], name: str) -> float | None:
    """None where one of them does not know."""
    known = [m[name] for m in metas if m.get(name) is not None]
    return sum(known) if len(known) == len(metas) else None


class LedgerPart:
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
        self.made: Provenance | None = None
        """How the records were made; None while that isn't known."""
        lines = self._whole_lines()
        self.records = {record_key(record): record for record in _parsed(lines)}
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
        sealed = record | {_SEAL: digest(record)}
        self._open.write(json.dumps(sealed, ensure_ascii=False) + "\n")
        self._open.flush()
        self.records[record_key(record)] = record
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

    def keep(self, published: Path, records: Sequence[dict], made: Provenance) -> None:
        """Leaves what was written for later jobs, once `records` stand in the file `published`:
        where these are the same, the two become one file on disk."""
        if self._open:
            self._open.close()
        if not self.records:
            return
        # Without a meta meanwhile: a kill here leaves records that count.
        self._meta.unlink(missing_ok=True)
        same = {record_key(r): r for r in records} == self.records
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
    """Records; a line that a crash of the machine or a disk spoilt is none. One that is published
    has no seal of its own, as all of them have one together."""
    for line in lines:
        try:
            record = json.loads(line)
            seal = record.pop(_SEAL, None)
            record_key(record)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if seal is None or seal == digest(record):
            yield record


def _read_meta(path: Path) -> dict | None:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def wanted_by_key(keys: Iterable[RecordKey]) -> dict[RecordKey, str]:
    """Wanted records that follow from the job's identity and their key."""
    return dict.fromkeys(keys, "")


def wanted_by_reply(replies: Iterable[dict]) -> dict[RecordKey, str]:
    """Wanted records that are each about a reply: one about another reply is not wanted."""
    return {record_key(r): digest([r["output"], r.get("verdict")]) for r in replies}


class Ledger:
    """The `wanted` records that are finished, by `id` and, where there are several, `sample`.

    Jobs of one identity share a folder, with a part for each that works at the same time: a job
    writes into its own and reads those of the others, whatever number of parts or samples they
    were made for. So a record stands in one part alone.
    """

    def __init__(self, folder: Path, part: str, wanted: Mapping[RecordKey, str]) -> None:
        self._wanted = wanted
        self._own = LedgerPart(folder / part)
        self.records: dict[RecordKey, dict] = {}
        beside = (LedgerPart(f) for f in sorted(folder.glob("*of*")) if f.name != part)
        found = [self._take(p) for p in (self._own, *beside)]
        self._made = [made for _, made in sorted(filter(None, found), key=lambda pair: pair[0])]
        self.resumed = len(self.records)
        """Records of earlier starts and jobs."""

    def _take(self, part: LedgerPart) -> tuple[int, Provenance] | None:
        """Takes what is wanted from a part: the place of the first record, and how they were made;
        None where there are none or that isn't known."""
        taken = {
            k: {name: value for name, value in record.items() if name != _REPLY}
            for k, record in part.records.items()
            if k not in self.records and self._wanted.get(k) == record.get(_REPLY, "")
        }
        self.records |= taken
        if not taken or part.made is None:
            return None
        first = next(i for i, k in enumerate(self._wanted) if k in taken)
        return first, provenance_of_share(part.made, len(taken) / len(part.records))

    @property
    def known(self) -> Provenance | None:
        """How all wanted records were made by earlier jobs; None while there is something to do."""
        if len(self.records) < len(self._wanted) or not self._made:
            return None
        print(f"all {len(self._wanted)} records are there already: no model is loaded")
        return provenance_of_found(self._made, self.records.values())

    def append(self, record: dict) -> None:
        """Keeps a record; it survives the process from here on. A preempted job ends here
        at the latest."""
        reply = self._wanted[record_key(record)]
        self._own.append(record | ({_REPLY: reply} if reply else {}))
        self.records[record_key(record)] = record
        end_if_preempted()

    def settle(self, record: dict) -> None:
        """Keeps a record that takes no work, unless a start before has kept it."""
        if record_key(record) not in self.records:
            self.append(record)

    def publish(self, path: Path, meta: Path, made: Provenance) -> None:
        """Writes the wanted records, in their order, and how they were made, each whole or not at
        all. This ends the job; what it made is kept for later ones."""
        records = [self.records[k] for k in self._wanted]
        made = made | {"resumed_records": self.resumed}
        write_json(meta, made)
        write_jsonl(path, records)
        self._own.keep(path, records, made)
