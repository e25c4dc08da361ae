"""Few-shot examples: drawn once from the training records, or read from the user's file."""

import json
import random
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from snaketune.config.dataset import FewShotSpec
from snaketune.data.example import Example
from snaketune.data.faults import RecordError, describe, key_twice
from snaketune.data.formats.base import Format
from snaketune.data.record import Fields
from snaketune.data.sources.lines import read_text
from snaketune.data.text import normalise
from snaketune.errors import UserError
from snaketune.json_keys import Repeat, parse


@dataclass(frozen=True)
class Shot:
    """One worked example, its question with its context; `index` is its place among the training
    records, from 0, or None where it comes from a file and is none of them."""

    index: int | None
    id: str
    question: str
    answer: str


def draw(train: list[Example], spec: FewShotSpec) -> list[Shot]:
    """`random.Random(seed).sample(range(n), count)` over the training examples in file order.

    Fewer than `count` where there are not that many; none where they have no replies, or have
    options.
    """
    if not all(e.answer for e in train) or any(e.choices for e in train):
        return []
    chosen = random.Random(spec.seed).sample(range(len(train)), min(spec.count, len(train)))
    return [Shot(i, train[i].id, train[i].prompt, train[i].answer or "") for i in chosen]


def from_file(path: Path, form: Format, train: list[Example]) -> list[Shot]:
    """The examples of a JSON list of `question` and `answer`, in its order, checked as records
    are. Raises `UserError` at the first fault."""
    try:
        entries, repeats = parse(read_text(path, str(path)))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: line {error.lineno}: found no JSON ({error.msg}), expected a list of objects "
            "with question and answer"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: found {error.strerror}, expected a few-shot file") from None
    if not isinstance(entries, list):
        raise UserError(f"{path}: found {describe(entries, True)}, expected a list of objects")
    if repeats:
        raise UserError(_key_twice(path, repeats[0], form.private))
    places = _places(train)
    return [_shot(path, n, entry, form, places, train) for n, entry in enumerate(entries, 1)]


def _key_twice(path: Path, repeat: Repeat, private: bool) -> str:
    fault = key_twice(repeat.path[1:], repeat.places)
    shown = replace(fault, field=None) if private else fault
    return f"{path}:{repeat.lines[0]}: record {int(repeat.path[0]) + 1}: {shown}"


def _places(train: list[Example]) -> dict[str, int]:
    """The place of a training record by its question with its context, and by its question alone
    where no other record asks the same; of equal records the first."""
    bare = Counter(normalise(e.question) for e in train)
    found: dict[str, int] = {}
    for i, example in enumerate(train):
        found.setdefault(normalise(example.prompt), i)
        if bare[normalise(example.question)] == 1:
            found.setdefault(normalise(example.question), i)
    return found


def refuse_own_examples(shots: list[Shot], test: list[Example], where: str) -> None:
    """Raises `UserError` where a test row is among its own few-shot examples."""
    places = {normalise(shot.question): shot for shot in shots}
    for example in test:
        if shot := places.get(normalise(example.prompt)):
            raise UserError(
                f"{where}.few_shot: found the few-shot example {shot.id} in the test split too "
                f"({example.source}:{example.record}, id {example.id}), expected examples that "
                "are not tested; use another few_shot.seed or file, overlap: drop, or count: 0 "
                "where no eval shows any"
            )


def as_json(shots: list[Shot]) -> list[dict]:
    """The examples as few_shot.json holds them."""
    return [asdict(shot) for shot in shots]


def _shot(
    path: Path, number: int, entry: object, form: Format, places: dict, train: list[Example]
) -> Shot:
    if not isinstance(entry, dict):
        raise UserError(
            f"{path}: record {number}: found {describe(entry, True)}, expected an object"
        )
    try:
        example = form.example(Fields(entry, form.private))
        fields = Fields(entry, form.private)
        question, answer = fields.text("question"), fields.text("answer")
    except RecordError as fault:
        raise UserError(f"{path}: record {number}: {fault}") from None
    if example.context:
        question = example.prompt
    index = places.get(normalise(question))
    if index is None:
        return Shot(None, f"few_shot-{number}", question, answer)
    # A question that was written without its context is that record's, context and all.
    return Shot(index, train[index].id, train[index].prompt, answer)
