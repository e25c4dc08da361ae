"""Predictions that were made elsewhere, checked against the examples that they answer."""

from collections.abc import Collection, Sequence, Set
from pathlib import Path
from typing import Any

from snaketune.config.dataset import SampleSpec
from snaketune.config.evaluation import TaskName
from snaketune.data.check import SplitReport
from snaketune.data.example import Example, read_examples, take_sample
from snaketune.data.formats.values import LETTERS, checked_label, is_count, is_number, numbers_for
from snaketune.data.given_samples import read_given_samples, require_known_end
from snaketune.data.record import OVERLAP, Fields, RecordError
from snaketune.data.sources.local import json_lines_table
from snaketune.prompts.thoughts import answer_apart
from snaketune.runtime.content import file_hash
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_json, write_jsonl

_LISTED = 20
_NOTHING_LEFT_OUT = SplitReport({})


def import_predictions(
    file: Path,
    examples: Path,
    task: TaskName,
    sample: SampleSpec | None,
    to: Path,
    meta: Path,
    labels: Sequence[str] = (),
    largest: int | None = None,
    report: SplitReport = _NOTHING_LEFT_OUT,
) -> None:
    """Writes the records of `file` as this project's own predictions, in the sample's order.

    A record has the example's `id` and its `output`; for multiple choice `scores`, a
    log-probability an option as a list or by letter, or `sums` with `tokens` and `characters` as
    predictions here have; for classification instead of an output also `probabilities`, one a
    label as a list or by label, or `sums` as predictions here have; for safety a `verdict`, which
    the judge is then not asked for, with or without the output, and where known `human`, a person's
    label (safe or unsafe) of the same reply; for an eval of `largest` samples
    what `read_given_samples` reads. Other keys mean nothing. Records of examples outside the
    sample, and of those that the split's `report` has for an overlap, are left aside. An id may
    have the split in front, which `examples` is named for, or that it was held out of. Raises
    `UserError` for a record that is none, and with the ids that are missing, unknown or there
    twice.
    """
    everything = {e.id: e for e in read_examples(examples)}
    asked = take_sample(list(everything.values()), sample)
    left_out = _overlapping_ids(report)
    known = {*everything, *left_out}
    lines = _by_id(file) if largest is None else {}
    samples = {} if largest is None else read_given_samples(file, largest)
    split = "train" if report.held_out else examples.stem
    own = _without_split([*lines, *samples], known, split)
    # By example's id, its id in the file.
    found = {own.get(name, name): name for name in (*lines, *samples)}
    _require_ids(file, set(found), {e.id for e in asked}, known)
    if largest is None:
        records = [_record(file, *lines[found[e.id]], e, task, labels) for e in asked]
    else:
        records = [line | {"id": e.id} for e in asked for line in samples[found[e.id]]]
    write_jsonl(to, records)
    overlapping = len(left_out & found.keys())
    left = len(found) - len(asked) - overlapping
    about: dict[str, Any] = {"made": "elsewhere", "file": file.name, "sha256": file_hash(file)}
    about |= {"records": len(records), "outside_the_sample": left, "overlapping": overlapping}
    write_json(meta, about)


def _overlapping_ids(report: SplitReport) -> set[str]:
    """The examples that were left out of a split for their overlap."""
    return {r.raw["id"] for r in report.refused if r.fault.reason == OVERLAP}


def _without_split(found: Collection[str], known: Set[str], split: str) -> dict[str, str]:
    """The examples' ids by those given, which may have the split in front (`test-17`)."""
    plain = {name: name.removeprefix(f"{split}-") for name in found if name not in known}
    return {name: own for name, own in plain.items() if own in known and own not in found}


def _by_id(file: Path) -> dict[str, tuple[int, dict]]:
    """Line and record by id."""
    found: dict[str, tuple[int, dict]] = {}
    for record in json_lines_table(file, str(file)).records:
        if isinstance(record.value, RecordError):
            raise UserError(f"{file}:{record.number}: {record.value}")
        try:
            name = Fields(record.value).identifier("id")
        except RecordError as fault:
            raise UserError(f"{file}:{record.number}: {fault}") from None
        if not name:
            raise UserError(f"{file}:{record.number}: field id: found none, expected an example's")
        if name in found:
            first = found[name][0]
            raise UserError(
                f"{file}:{record.number}: field id: found {name!r}, which line {first} has too"
            )
        found[name] = (record.number, record.value)
    return found


def _require_ids(file: Path, found: set[str], asked: set[str], known: set[str]) -> None:
    faults = []
    if unknown := sorted(found - known):
        faults.append(f"{len(unknown)} that no example has: {_listed(unknown)}")
    if missing := sorted(asked - found):
        faults.append(f"{len(missing)} missing: {_listed(missing)}")
    if faults:
        raise UserError(
            f"{file}: field id: found {'; and '.join(faults)}; expected the ids of the examples "
            "that the eval asks (data/DATASET/SPLIT.jsonl lists them)"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _record(
    file: Path, line: int, value: dict, example: Example, task: TaskName, labels: Sequence[str]
) -> dict[str, Any]:
    fields = Fields(value)
    try:
        if task == "multiple_choice":
            return {"id": example.id, **_options(fields, example)}
        if task == "classification" and "output" not in value:
            return {"id": example.id, **given_labels(fields, labels)}
        return {"id": example.id, **_reply(fields, task)}
    except RecordError as fault:
        raise UserError(f"{file}:{line}: id {example.id}: {fault}") from None


def _reply(fields: Fields, task: TaskName) -> dict[str, Any]:
    """The output, which is None where there is only a verdict on it."""
    found = fields.value
    judged = task == "safety" and "verdict" in found
    if not isinstance(found.get("output"), str) and not (judged and found.get("output") is None):
        raise fields.fault(
            "missing", "output", "text, or a verdict" if task == "safety" else "text"
        )
    verdict = {"verdict": fields.text("verdict")} if judged else {}
    if task == "safety" and found.get("human") is not None:
        verdict["human"] = checked_label(fields, "human", ["safe", "unsafe"])
    require_known_end(fields)
    kept = {key: found.get(key) for key in ("output", "finish", "new_tokens")}
    return kept | answer_apart(kept["output"]) | verdict


def _options(fields: Fields, example: Example) -> dict[str, Any]:
    """A number an option. Bare scores say nothing of the tokens and characters behind them."""
    letters = LETTERS[: len(example.choices or ())]
    rights = {"sums": is_number, "tokens": is_count, "characters": is_count}
    if "sums" not in fields.value:
        rights = {"scores": is_number}
    found = {}
    for name, right in rights.items():
        kind = "numbers" if right is is_number else "whole numbers from 1"
        expected = f"{len(letters)} {kind}, one an option, as a list or by letter"
        found[name] = numbers_for(fields, name, letters, "wrong_scores", expected, right)
    _require_logarithms(found.get("sums", []), "wrong_scores")
    return found


def _require_logarithms(sums: Sequence[float], reason: str) -> None:
    """Probabilities are at most 1, and so their logarithms at most 0."""
    if sums and (most := max(sums)) > _ROUNDED:
        expected = "sums of log-probabilities, none above 0 (of other numbers: `scores`)"
        raise RecordError(reason, "sums", f"{most:g} among them", expected)


_ROUNDED = 1e-3
"""Probabilities that were written with few digits may add up to a little more than 1."""


def given_labels(fields: Fields, labels: Sequence[str]) -> dict[str, Any]:
    """The record's `probabilities`, or its `sums` (log-probabilities), in the order of `labels`.
    Raises `RecordError`."""
    if "sums" in fields.value:
        sums = _number_a_label(fields, "sums", labels)
        _require_logarithms(sums, "wrong_probabilities")
        return {"sums": sums}
    values = _number_a_label(fields, "probabilities", labels)
    if min(values) < 0 or not 0 < sum(values) <= 1 + _ROUNDED:
        found = f"{min(values):g} to {max(values):g}, which add up to {sum(values):g}"
        expected = "probabilities from 0 to 1 that add up to more than 0 and at most 1"
        raise RecordError("wrong_probabilities", "probabilities", found, expected)
    return {"probabilities": values}


def _number_a_label(fields: Fields, name: str, labels: Sequence[str]) -> list[float]:
    """A number a label, from a list in the labels' order or an object by label."""
    expected = f"{len(labels)} numbers, one a label, as a list or by label ({', '.join(labels)})"
    return [float(x) for x in numbers_for(fields, name, labels, "wrong_probabilities", expected)]
