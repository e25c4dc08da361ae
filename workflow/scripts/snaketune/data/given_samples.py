"""Samples that were drawn elsewhere: several replies to each question, some with rewards."""

from math import isfinite
from pathlib import Path
from typing import Any

from snaketune.data.faults import RecordError
from snaketune.data.record import Fields
from snaketune.data.sources import jsonl
from snaketune.errors import UserError

Samples = dict[str, list[dict[str, Any]]]
"""By example: the lines of its samples, in order."""

_LISTED = 20


def read_given(file: Path, largest: int) -> Samples:
    """The samples of a file, as lines that predictions here have, with `reward` where it came.

    A record is a question, with `id`, `samples` (texts) and, if at all, `rewards` (a number or
    null each); or a sample, with `id`, `sample` (its number, from 0), `output` and, if at all,
    `reward`. Each question has the same number of samples, and no fewer than `largest`.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for record in jsonl.read(file, str(file)).records:
        where = f"{file}:{record.number}"
        if isinstance(record.value, RecordError):
            raise UserError(f"{where}: {record.value}")
        try:
            name, lines = _lines(Fields(record.value))
            _add(found.setdefault(name, {}), lines)
        except RecordError as fault:
            raise UserError(f"{where}: {fault}") from None
    _require_all(file, found, largest)
    count = len(next(iter(found.values()), {}))
    return {
        name: [{"id": name, "sample": s, "of": count, **lines[s]} for s in range(count)]
        for name, lines in found.items()
    }


def _lines(fields: Fields) -> tuple[str, dict[int, dict[str, Any]]]:
    """The question's id and what a record holds of its samples, by number."""
    name = fields.identifier("id")
    if not name:
        raise fields.fault("missing", "id", "an example's")
    if "samples" not in fields.value:
        return name, {_number(fields): _line(fields)}
    texts, rewards = fields.value["samples"], fields.value.get("rewards")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise fields.fault("no_texts", "samples", "a list of texts")
    if rewards is None:
        return name, {i: {"output": text} for i, text in enumerate(texts)}
    if not isinstance(rewards, list) or len(rewards) != len(texts):
        raise fields.fault("wrong_rewards", "rewards", f"{len(texts)} numbers, one a sample")
    if not all(map(_is_reward, rewards)):
        raise fields.fault("wrong_rewards", "rewards", "a number or null for each sample")
    pairs = zip(texts, rewards, strict=True)
    return name, {i: {"output": text, "reward": reward} for i, (text, reward) in enumerate(pairs)}


def _number(fields: Fields) -> int:
    found = fields.value.get("sample")
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise fields.fault("no_sample", "sample", "the sample's number, from 0, or a list samples")
    return found


def _line(fields: Fields) -> dict[str, Any]:
    if not isinstance(fields.value.get("output"), str):
        raise fields.fault("missing", "output", "text")
    if "reward" in fields.value and not _is_reward(fields.value["reward"]):
        raise fields.fault("wrong_reward", "reward", "a number or null")
    kept = ("output", "reward", "finish", "new_tokens")
    return {key: fields.value[key] for key in kept if key in fields.value}


def _is_reward(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and isfinite(value))


def _add(known: dict[int, dict[str, Any]], lines: dict[int, dict[str, Any]]) -> None:
    if twice := known.keys() & lines.keys():
        raise RecordError("twice", "sample", str(min(twice)), "each sample of a question once")
    known |= lines


def _require_all(file: Path, found: dict[str, dict[int, Any]], largest: int) -> None:
    """The same samples of every question, none missing, enough for every n, rewards all or none."""
    counts = {name: max(lines, default=-1) + 1 for name, lines in found.items()}
    for name, lines in found.items():
        if missing := sorted(set(range(counts[name])) - lines.keys()):
            numbers = ", ".join(map(str, missing[:_LISTED]))
            raise UserError(f"{file}: id {name}: field sample: found none of number {numbers}")
    few = [name for name, count in counts.items() if count < largest]
    if few:
        raise UserError(
            f"{file}: found {counts[few[0]]} samples of {few[0]}, expected at least {largest}, the "
            f"largest number in the eval's sampling.at; {len(few)} questions have too few"
        )
    if len(set(counts.values())) > 1:
        sizes = sorted(set(counts.values()))
        raise UserError(f"{file}: found {sizes} samples of a question, expected one number of all")
    _require_rewards(file, found)


def _require_rewards(file: Path, found: dict[str, dict[int, Any]]) -> None:
    lines = [(name, s, line) for name, by in found.items() for s, line in by.items()]
    without = [(name, s) for name, s, line in lines if "reward" not in line]
    if without and len(without) < len(lines):
        name, sample = without[0]
        raise UserError(
            f"{file}: found no reward of {len(without)} samples, such as {sample} of {name}, "
            "expected rewards of all samples or of none (null: of an empty reply)"
        )
