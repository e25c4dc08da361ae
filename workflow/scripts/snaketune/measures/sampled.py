"""Several replies to each question, with their rewards, read from files and checked."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from snaketune.config.sections import SamplingSpec
from snaketune.errors import UserError
from snaketune.jsonl import read_jsonl

Place = tuple[str, int]
"""An example's id and the number of one of its samples, from 0."""

_LISTED = 20


def read_samples(
    predictions: Path, rewards: Path | None, ids: Collection[str], spec: SamplingSpec
) -> dict[str, dict[str, Any]]:
    """By example: its `samples` in order, each a line of the predictions with its `reward`.

    Raises UserError unless both files hold every sample of every example, each once. There are as
    many as the eval asks for; predictions made elsewhere say on their lines how many they are.
    """
    lines = _by_place(predictions)
    count = next((line["of"] for line in lines.values() if "of" in line), spec.samples)
    if count < spec.at[-1]:
        raise UserError(
            f"{predictions}: found {count} samples of each question, expected at least "
            f"{spec.at[-1]}, the largest number in the eval's sampling.at"
        )
    expected = [(id_, sample) for id_ in ids for sample in range(count)]
    _require_same(predictions, lines, expected)
    if rewards is not None:
        scored = _by_place(rewards)
        _require_same(rewards, scored, expected)
        lines = {place: line | {"reward": scored[place]["reward"]} for place, line in lines.items()}
    return {id_: {"id": id_, "samples": [lines[id_, s] for s in range(count)]} for id_ in ids}


def _by_place(path: Path) -> dict[Place, dict[str, Any]]:
    found: dict[Place, dict[str, Any]] = {}
    for line, record in enumerate(read_jsonl(path), start=1):
        if "sample" not in record:
            raise UserError(f"{path}, line {line}: found no sample, expected the sample's number")
        place = record["id"], record["sample"]
        if place in found:
            raise UserError(f"{path}, line {line}: sample {_named(place)} comes twice")
        found[place] = record
    return found


def _require_same(path: Path, found: Collection[Place], expected: list[Place]) -> None:
    faults = []
    if missing := [place for place in expected if place not in found]:
        faults.append(f"{len(missing)} missing: {_listed(missing)}")
    known = set(expected)
    if odd := [place for place in found if place not in known]:
        faults.append(f"{len(odd)} that nothing asks for: {_listed(odd)}")
    if faults:
        raise UserError(
            f"{path}: found {len(found)} samples, expected {len(expected)}; {'; '.join(faults)}. "
            "Make the file again."
        )


def _listed(places: list[Place]) -> str:
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    return ", ".join(map(_named, places[:_LISTED])) + more


def _named(place: Place) -> str:
    return f"{place[1]} of {place[0]!r}"
