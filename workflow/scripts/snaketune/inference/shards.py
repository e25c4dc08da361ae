"""An eval spread over several jobs, and their files joined again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from snaketune.errors import UserError
from snaketune.inference.ledger import key
from snaketune.jsonl import read_jsonl, write_json, write_jsonl

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 0) of `count`: every count-th item, so that parts are alike in length."""

    number: int
    count: int

    def of(self, items: Sequence[T]) -> list[T]:
        """The items of this part, in their order."""
        return list(items[self.number :: self.count])


WHOLE = Shard(0, 1)


def join_shards(parts: Sequence[Path], metas: Sequence[Path], joined: Path, meta: Path) -> None:
    """Writes the records of all parts in the order that one job would have given them."""
    write_jsonl(joined, _dealt([_by_example(p) for p in parts], parts))
    write_json(meta, _joined_meta([json.loads(m.read_text(encoding="utf-8")) for m in metas]))


def _by_example(path: Path) -> list[list[dict]]:
    """The records of a part, those of an example together."""
    groups: dict[str, list[dict]] = {}
    for record in read_jsonl(path):
        groups.setdefault(record["id"], []).append(record)
    return [sorted(group, key=key) for group in groups.values()]


def _dealt(shards: list[list[list[dict]]], paths: Sequence[Path]) -> Iterator[dict]:
    """One example of each part in turn, as `Shard.of` dealt them."""
    counts = [len(shard) for shard in shards]
    if sorted(counts, reverse=True) != counts or counts[0] - counts[-1] > 1:
        raise UserError(f"{paths[0].parent}: found parts of {counts} examples: one is not whole")
    for round_ in zip_longest(*shards, fillvalue=[]):
        for group in round_:
            yield from group


_USAGE = ("main_memory_bytes", "gpu_memory_bytes", "job_seconds")


def _joined_meta(metas: list[dict[str, Any]]) -> dict[str, Any]:
    """The first part's, with counts and times added up and the sizes of all."""
    finishes: dict[str, int] = {}
    for part in metas:
        for name, count in part["finishes"].items():
            finishes[name] = finishes.get(name, 0) + count
    seconds = sum(m["seconds"] for m in metas)
    # Of the parts' rates: one that was killed made some of its tokens in seconds not counted here.
    timed = sum(m["seconds"] * m["tokens_per_second"] for m in metas)
    return metas[0] | {
        "shards": len(metas),
        "finishes": finishes,
        "batch_sizes": sorted({size for m in metas for size in m["batch_sizes"]}),
        "largest_batch": max(m["largest_batch"] for m in metas),
        "seconds": round(seconds, 3),
        "new_tokens": sum(m["new_tokens"] for m in metas),
        "tokens_per_second": round(timed / max(seconds, 1e-9), 1),
        **{key: _most(metas, key) for key in _USAGE},
        "resumed_records": sum(m["resumed_records"] for m in metas),
    }


def _most(metas: list[dict[str, Any]], key: str) -> float | None:
    return max((m[key] for m in metas if m.get(key) is not None), default=None)
