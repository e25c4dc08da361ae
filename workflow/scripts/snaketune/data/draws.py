"""What is drawn of the training records: the dev split that is held out, and the few-shot examples,
which a user's own file may give instead.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from snaketune.config.dataset import DatasetSpec, FewShotSpec
from snaketune.data.check import SplitReport
from snaketune.data.example import GROUP, Example, normalise, read_examples
from snaketune.data.formats.base import Format, format_for
from snaketune.data.formats.values import LETTERS
from snaketune.data.record import Fields, RecordError, Repeat, describe, key_twice, parse
from snaketune.data.sources.text import read_text
from snaketune.data.steps import same_draw
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_json, write_json


def hold_out(train: list[Example], count: int, seed: int, shown: set[str], where: str) -> list[int]:
    """The places of the dev examples among the training examples, rising.

    Dev is the first `count` of `numpy.random.default_rng(seed).permutation(n)` whose normalised
    question, with its context, is not among `shown`, the few-shot examples' questions; where
    examples have groups, those of whole groups. Raises `UserError` where no training example would
    be left.
    """
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(train))]
    free = [i for i in order if normalise(train[i].asked) not in shown]
    groups = [json.loads(example.meta).get(GROUP) for example in train]
    if any(group is not None for group in groups):
        held = _whole_groups(groups, free, count)
    else:
        held = sorted(free[:count])
    if len(held) < count or len(held) == len(train):
        raise UserError(
            f"{where}.dev: found {count} with {len(train)} training records, expected fewer than "
            "the training records that are no few-shot examples"
        )
    return held


def _whole_groups(groups: list[str | None], free: list[int], count: int) -> list[int]:
    """The places of the groups, each met in the order of `free` and free as a whole, until they
    have `count` examples."""
    members: dict[str | None, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    held: list[int] = []
    known, taken = set(free), set()
    for place in free:
        group = groups[place]
        if len(held) >= count:
            break
        if group not in taken and known.issuperset(members[group]):
            taken.add(group)
            held += members[group]
    return sorted(held)


def dev_places(train: list[Example], spec: DatasetSpec, form: Format, where: str) -> list[int]:
    """The places of the dev examples of `spec` among the training examples, rising.

    Dev has none of the few-shot examples, nor, where enough are left, of those that a somewhat
    larger `few_shot.count` would draw: a changed count would else train everything again.
    """
    wide = spec.few_shot.model_copy(update={"count": same_draw(spec.few_shot.count)})
    for shots in (wide, spec.few_shot):
        drawn = shots_of(spec.model_copy(update={"few_shot": shots}), form, train, where)
        shown = {normalise(shot.question) for shot in drawn}
        try:
            return hold_out(train, spec.dev, spec.seed, shown, where)
        except UserError as error:
            fault = error
    raise fault


def require_held_out_alike(
    train: list[Example], held: list[int], spec: DatasetSpec, form: Format, where: str
) -> None:
    """Raises `UserError` where dev was held out before `few_shot.count` changed, and would be
    another one now: in data so small that it follows from the count."""
    if spec.dev and spec.few_shot.file is None and dev_places(train, spec, form, where) != held:
        raise UserError(
            f"{where}.few_shot.count: found {spec.few_shot.count}, with which another dev split is "
            "held out of so few records; expected the count of before, or a start with "
            "`--forcerun prepare_held_out`, which makes what follows from it anew"
        )


def put_back(train: list[Example], dev: list[Example], places: Sequence[int]) -> list[Example]:
    """The training examples in file order, with those of dev at the places they were held out
    of."""
    held, kept = dict(zip(places, dev, strict=True)), iter(train)
    return [held[i] if i in held else next(kept) for i in range(len(train) + len(dev))]


def training_records(files: Sequence[Path]) -> list[Example]:
    """All training examples in file order, from train.parquet alone or, where dev is held out of
    it, from train.parquet, dev.parquet and dev.json; none without files."""
    if len(files) < 3:
        return [example for file in files for example in read_examples(file)]
    train, dev, report = files
    return put_back(read_examples(train), read_examples(dev), SplitReport.read(report).held_out)


def held_places(files: Sequence[Path]) -> list[int]:
    """The places among these of the dev examples that were held out of them."""
    return SplitReport.read(files[2]).held_out if len(files) == 3 else []


@dataclass(frozen=True)
class Shot:
    """One worked example, its question with its context; `index` is its place among the training
    records, from 0, or None where it comes from a file and is none of them."""

    index: int | None
    id: str
    question: str
    answer: str
    choices: list[str] | None = None
    label: str | None = None
    """With `choices` what an eval of multiple choice shows: the letter of the one that is right."""

    def row(self) -> dict:
        """What is written of it."""
        return {k: v for k, v in asdict(self).items() if v is not None or k == "index"}


def shots_of(
    spec: DatasetSpec,
    form: Format,
    train: list[Example],
    where: str,
    options: bool = False,
    held: Sequence[int] = (),
) -> list[Shot]:
    """The dataset's few-shot examples; `train` are all its training records in file order, of which
    those at the places `held` are dev; `options`: an eval shows them with their options."""
    if spec.few_shot.file is None:
        return draw_shots(train, spec.few_shot, options, held)
    return shots_of_file(_own_file(spec.few_shot.file, where), form, train, options)


def shown_questions(
    spec: DatasetSpec,
    train: list[Example],
    count: int,
    where: str,
    numeric: bool = False,
    options: bool = False,
    held: Sequence[int] = (),
) -> list[str]:
    """The questions of the first `count` few-shot examples, with their contexts. A user's own file
    needs no `train`."""
    if spec.few_shot.file is None:
        return [shot.question for shot in draw_shots(train, spec.few_shot, options, held)[:count]]
    found = _read_own_file(_own_file(spec.few_shot.file, where), format_for(spec, numeric), options)
    return [shot.question for shot in found[:count]]


def draw_shots(
    train: list[Example], spec: FewShotSpec, options: bool = False, held: Sequence[int] = ()
) -> list[Shot]:
    """`random.Random(seed).sample(range(n), count)` over the training examples in file order; of
    those with options over the ones that are not `held`. Fewer than `count` where there are not
    that many; none where they have no replies, or have options that no eval shows.
    """
    with_options = any(e.choices for e in train)
    if not all(e.answer and not e.history for e in train) or with_options > options:
        return []
    free = sorted(set(range(len(train))) - set(held if with_options else ()))
    chosen = random.Random(spec.seed).sample(range(len(free)), min(spec.count, len(free)))
    return [_shot_of(train[free[i]], free[i], train[free[i]].id) for i in chosen]


def _shot_of(example: Example, index: int | None, name: str) -> Shot:
    label = example.label if example.choices else None
    return Shot(index, name, example.prompt, example.answer or "", example.choices, label)


def shots_of_file(
    path: Path, form: Format, train: list[Example], options: bool = False
) -> list[Shot]:
    """The examples of a JSON list of `question` and `answer`, in its order, checked as records
    are. Raises `UserError` at the first fault."""
    places = _places(train)
    return [_placed(shot, places, train) for shot in _read_own_file(path, form, options)]


def _own_file(file: str, where: str) -> Path:
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{where}.few_shot.file: found no file {path}, expected a JSON list")
    return path


def _read_own_file(path: Path, form: Format, options: bool = False) -> list[Shot]:
    """Every example, whose place nobody has looked for."""
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
        raise UserError(_twice_in_file(path, repeats[0], form.private))
    return [_entry(path, number, entry, form, options) for number, entry in enumerate(entries, 1)]


def _twice_in_file(path: Path, repeat: Repeat, private: bool) -> str:
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
        if shot := places.get(normalise(example.asked)):
            raise UserError(
                f"{where}.few_shot: found the few-shot example {shot.id} in the test split too "
                f"({example.source}:{example.record}, id {example.id}), expected examples that "
                "are not tested; use another few_shot.seed or file, overlap: drop, or count: 0 "
                "where no eval shows any"
            )


def write_few_shot(
    spec: DatasetSpec,
    train: list[Example],
    path: Path,
    where: str,
    numeric: bool = False,
    options: bool = False,
    held: Sequence[int] = (),
) -> None:
    """Writes the dataset's few-shot examples as JSON."""
    shots = shots_of(spec, format_for(spec, numeric), train, where, options, held)
    write_json(path, [shot.row() for shot in shots])


def read_shots(path: Path) -> list[Shot]:
    """The examples of a few_shot.json that `write_few_shot` wrote."""
    return [Shot(**row) for row in read_json(path)]


def _entry(path: Path, number: int, entry: object, form: Format, options: bool) -> Shot:
    """With options an example is a record of the dataset's format, or as `Shot.row` writes it."""
    if not isinstance(entry, dict):
        raise UserError(
            f"{path}: record {number}: found {describe(entry, True)}, expected an object"
        )
    fields, name = Fields(entry, form.private), f"few_shot-{number}"
    try:
        if options and {"choices", "label"} <= entry.keys():
            choices, label = entry["choices"], fields.text("label")
            if not isinstance(choices, list) or label not in LETTERS[: len(choices)]:
                raise fields.fault("no_such_option", "label", "the letter of one of the choices")
            right = str(choices[LETTERS.index(label)])
            return Shot(None, name, fields.text("question"), right, list(map(str, choices)), label)
        example = form.example(fields)
        if options:
            return _shot_of(example, None, name)
        question, answer = fields.text("question"), fields.text("answer")
    except RecordError as fault:
        raise UserError(f"{path}: record {number}: {fault}") from None
    return Shot(None, name, example.prompt if example.context else question, answer)


def _placed(shot: Shot, places: dict[str, int], train: list[Example]) -> Shot:
    index = places.get(normalise(shot.question))
    if index is None:
        return shot
    # A question that was written without its context is that record's, context and all.
    return replace(shot, index=index, id=train[index].id, question=train[index].prompt)
