"""An eval shared out to several jobs, and their files joined again. Light: what joins them loads no
model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from snaketune.inference.ledger import join_provenance, record_key
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_json, read_jsonl, write_json, write_jsonl

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 0) of `count`: every count-th item, so that parts are alike in length."""

    number: int
    count: int

    def of(self, items: Sequence[T]) -> list[T]:
        """The items of this part, in their order."""
        return list(items[self.number :: self.count])

    @property
    def name(self) -> str:
        """`1of4` for the first of four."""
        return f"{self.number + 1}of{self.count}"

    @property
    def beside(self) -> set[str]:
        """Names of the parts whose jobs may run at the same time."""
        return {Shard(i, self.count).name for i in range(self.count)} - {self.name}


WHOLE = Shard(0, 1)


def join_shards(parts: Sequence[Path], metas: Sequence[Path], joined: Path, meta: Path) -> None:
    """Writes the records of all parts in the order that one job would have given them."""
    write_jsonl(joined, _dealt([_by_example(p) for p in parts], parts))
    made = join_provenance([read_json(m) for m in metas])
    write_json(meta, made | {"shards": len(metas)})


def _by_example(path: Path) -> list[list[dict]]:
    """The records of a part, those of an example together."""
    groups: dict[str, list[dict]] = {}
    for record in read_jsonl(path):
        groups.setdefault(record["id"], []).append(record)
    return [sorted(group, key=record_key) for group in groups.values()]


def _dealt(shards: list[list[list[dict]]], paths: Sequence[Path]) -> Iterator[dict]:
    """One example of each part in turn, as `Shard.of` dealt them."""
    counts = [len(shard) for shard in shards]
    if sorted(counts, reverse=True) != counts or counts[0] - counts[-1] > 1:
        raise UserError(f"{paths[0].parent}: found parts of {counts} examples: one is not whole")
    for round_ in zip_longest(*shards, fillvalue=[]):
        for group in round_:
            yield from group
