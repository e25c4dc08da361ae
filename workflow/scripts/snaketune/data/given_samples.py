"""Samples that were drawn elsewhere: several replies to each question, some with rewards."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from snaketune.data.formats.values import is_count, is_number
from snaketune.data.record import Fields, RecordError, describe
from snaketune.data.sources.local import json_lines_table
from snaketune.prompts.thoughts import answer_apart
from snaketune.runtime.errors import UserError

Samples = dict[str, list[dict[str, Any]]]
"""By example: the lines of its samples, in order."""

_LISTED = 20


def read_given_samples(file: Path, largest: int) -> Samples:
    """The samples of a file, as lines that predictions here have, with `reward` where it came.

    A record is a question, with `id`, `samples` (texts, or objects with `output` and, if at all,
    `reward`) and, if at all, `rewards` or `reward` (a number or null each); or a sample, with `id`,
    `sample` (its number, from 0), `output` and, if at all, `reward`. Each question has the same
    number of samples, and no fewer than `largest`.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for record in json_lines_table(file, str(file)).records:
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
        return name, {_sample_number(fields): _line(fields)}
    samples = fields.value["samples"]
    if not isinstance(samples, list):
        raise fields.fault("no_texts", "samples", "a list of texts, or of objects with output")
    lines = [_listed_line(i, sample) for i, sample in enumerate(samples)]
    return name, dict(enumerate(_rewarded(fields, lines)))


def _listed_line(number: int, sample: object) -> dict[str, Any]:
    if isinstance(sample, str):
        return {"output": sample}
    place = f"samples[{number}]"
    if not isinstance(sample, dict):
        expected = "text, or an object with output"
        raise RecordError("no_texts", place, describe(sample), expected)
    try:
        return _line(Fields(sample))
    except RecordError as fault:
        raise replace(fault, field=f"{place}.{fault.field}") from None


def _rewarded(fields: Fields, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with the rewards that stand beside `samples`, under either name."""
    named = [name for name in ("rewards", "reward") if fields.value.get(name) is not None]
    if not named:
        return lines
    name, rewards = named[0], fields.value[named[0]]
    if len(named) > 1 or any("reward" in line for line in lines):
        expected = "rewards in one place"
        raise RecordError("wrong_rewards", name, "rewards in another place too", expected)
    if not isinstance(rewards, list) or len(rewards) != len(lines):
        raise fields.fault("wrong_rewards", name, f"{len(lines)} numbers, one a sample")
    if not all(map(_is_reward, rewards)):
        raise fields.fault("wrong_rewards", name, "a number or null for each sample")
    return [line | {"reward": reward} for line, reward in zip(lines, rewards, strict=True)]


def _sample_number(fields: Fields) -> int:
    found = fields.value.get("sample")
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise fields.fault("no_sample", "sample", "the sample's number, from 0, or a list samples")
    return found


def _line(fields: Fields) -> dict[str, Any]:
    if not isinstance(fields.value.get("output"), str):
        raise fields.fault("missing", "output", "text")
    if "reward" in fields.value and not _is_reward(fields.value["reward"]):
        raise fields.fault("wrong_reward", "reward", "a number or null")
    require_known_end(fields)
    kept = ("output", "reward", "finish", "new_tokens")
    line = {key: fields.value[key] for key in kept if key in fields.value}
    return line | answer_apart(line["output"])


_ENDS = ("stop", "length", "overlong")


def require_known_end(fields: Fields) -> None:
    """Raises `RecordError` where a record says in other words than ours how its reply ended, or
    how long it is."""
    found = fields.value
    if found.get("finish") is not None and found["finish"] not in _ENDS:
        expected = "stop, length (cut at the limit), overlong (no room to answer), or null"
        raise fields.fault("unknown_finish", "finish", expected)
    count = found.get("new_tokens")
    if count is not None and not (is_count(count) or (count == 0 and is_number(count))):
        raise fields.fault("wrong_type", "new_tokens", "a whole number of tokens, or null")


def _is_reward(value: object) -> bool:
    return value is None or is_number(value)


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
