"""Records of a job that can be killed at any moment: a line is whole or it isn't there."""

import json
from collections.abc import Sequence
from pathlib import Path

from snaketune.jsonl import write_jsonl
from snaketune.warned import end_if_warned
from snaketune.workfolder import finish

Key = tuple[str, int]


class Ledger:
    """Finished records in a file of JSON lines, by `id` and, where there are several, `sample`.

    What a killed job wrote is read back; a line that it did not finish is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.records = {key(r): r for r in _whole_lines(path)}
        self.resumed = len(self.records)
        """Records of earlier starts."""
        self._file = path.open("a", encoding="utf-8")

    def append(self, record: dict) -> None:
        """Keeps a record; it survives the process from here on. A job that was warned ends
        here at the latest."""
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()
        self.records[key(record)] = record
        end_if_warned()

    def settle(self, record: dict) -> None:
        """Keeps a record that takes no work, unless a start before has kept it."""
        if key(record) not in self.records:
            self.append(record)

    def publish(self, path: Path, keys: Sequence[Key]) -> None:
        """Writes the records of `keys`, in this order, whole or not at all. This ends the job:
        the work folder that the ledger lies in is removed."""
        self._file.close()
        write_jsonl(path, (self.records[k] for k in keys))
        finish(Path(self._file.name).parent)


def key(record: dict) -> Key:
    """What a record is known by."""
    return record["id"], record.get("sample", 0)


def _whole_lines(path: Path) -> list[dict]:
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [json.loads(line) for line in whole.splitlines()]
