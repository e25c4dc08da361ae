"""Records of a job that can be killed at any moment, and that later jobs find again: a line is
whole or it isn't there, and what was made once is not made again."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from snaketune.inference.made import Made, of_found, of_some
from snaketune.inference.part import Key, Part, key
from snaketune.runtime.content import digest
from snaketune.runtime.files import write_json, write_jsonl
from snaketune.runtime.preemption import end_if_warned

_REPLY = "reply_hash"


def plain(keys: Iterable[Key]) -> dict[Key, str]:
    """Wanted records that follow from the job's identity and their key."""
    return dict.fromkeys(keys, "")


def of_replies(replies: Iterable[dict]) -> dict[Key, str]:
    """Wanted records that are each about a reply: one about another reply is not wanted."""
    return {key(r): digest([r["output"], r.get("verdict")]) for r in replies}


class Ledger:
    """The `wanted` records that are finished, by `id` and, where there are several, `sample`.

    Jobs of one identity share a folder, with a part for each that works at the same time: a job
    writes into its own and reads those of the others, whatever number of parts or samples they
    were made for. So a record stands in one part alone.
    """

    def __init__(self, folder: Path, part: str, wanted: Mapping[Key, str]) -> None:
        self._wanted = wanted
        self._own = Part(folder / part)
        self.records: dict[Key, dict] = {}
        beside = (Part(f) for f in sorted(folder.glob("*of*")) if f.name != part)
        found = [self._take(p) for p in (self._own, *beside)]
        self._made = [made for _, made in sorted(filter(None, found), key=lambda pair: pair[0])]
        self.resumed = len(self.records)
        """Records of earlier starts and jobs."""

    def _take(self, part: Part) -> tuple[int, Made] | None:
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
        return first, of_some(part.made, len(taken) / len(part.records))

    @property
    def known(self) -> Made | None:
        """How all wanted records were made by earlier jobs; None while there is something to do."""
        if len(self.records) < len(self._wanted) or not self._made:
            return None
        print(f"all {len(self._wanted)} records are there already: no model is loaded")
        return of_found(self._made, self.records.values())

    def append(self, record: dict) -> None:
        """Keeps a record; it survives the process from here on. A job that was warned ends
        here at the latest."""
        reply = self._wanted[key(record)]
        self._own.append(record | ({_REPLY: reply} if reply else {}))
        self.records[key(record)] = record
        end_if_warned()

    def settle(self, record: dict) -> None:
        """Keeps a record that takes no work, unless a start before has kept it."""
        if key(record) not in self.records:
            self.append(record)

    def publish(self, path: Path, meta: Path, made: Made) -> None:
        """Writes the wanted records, in their order, and how they were made, each whole or not at
        all. This ends the job; what it made is kept for later ones."""
        records = [self.records[k] for k in self._wanted]
        made = made | {"resumed_records": self.resumed}
        write_json(meta, made)
        write_jsonl(path, records)
        self._own.keep(path, records, made)
