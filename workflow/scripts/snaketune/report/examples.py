"""Every example with all replies to it, to search, sort and filter: some of an eval on the report's
page, clipped, all of them on a page of their own, and whole rows as CSV.
"""

import json
import random
from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Any, NamedTuple, TypedDict

from snaketune.report.sources import Cell, ReportSources
from snaketune.report.style import excerpt
from snaketune.runtime.files import csv_text
from snaketune.tasks.task import Score, task_of

SHOWN = 300
"""Examples of an eval that the report's page has at most."""
ROOM = 1_200_000
"""Bytes of the report's page that the examples of all evals take, about."""
_ROW, _REPLY, _FEWEST = 450, 130, 110
"""Bytes of an example and of a reply beside their texts, and the fewest of a reply's text."""
_LONGEST = 20_000
"""Characters of a text on an eval's own page; the CSV has all of them."""

RIGHT, WRONG, PARTLY, UNDECIDED = "r", "w", "p", "n"
UNREAD, CHANGED = "u", "c"
_GROUPS = "0123456789ABCDEFGHIJ"
_MARKS = {RIGHT: ("good", "✓"), WRONG: ("bad", "✗"), PARTLY: ("", "◐"), UNDECIDED: ("", "?")}


class ExampleReply(TypedDict):
    """What a state replied."""

    state: str
    place: int
    """Of the state."""
    mark: tuple[str, str]
    """(class, sign)"""
    reading: str
    cut: bool
    text: tuple[str, int]
    judge: str | None


class ShownExample(TypedDict):
    """A row: one example and what every state made of it."""

    id: str
    place: int
    question: tuple[str, int]
    gold: str
    group: str
    right: int
    of: int
    changed: int
    flags: str
    """A word a state, in order: what it is and the groups that it is in, a letter each; `-` where
    the state has no such example."""
    replies: list[ExampleReply]


class ExampleTable(TypedDict):
    """The examples of one eval."""

    eval: str
    task: str
    page: str
    file: str
    states: list[str]
    bases: list[int]
    """Of each state the place of its base; -1 where it has none."""
    kinds: list[tuple[str, str]]
    """(letter, name) of what rows can be filtered by."""
    good: str
    """What a right reply is called."""
    golden: bool
    grouped: bool
    count: int
    rows: list[ShownExample]


class _Told(NamedTuple):
    """A state under a protocol."""

    label: str
    base: int
    scores: dict[str, Score]


def example_tables(sources: ReportSources) -> list[ExampleTable]:
    """Of every eval as many examples as the page has room for, with clipped texts."""
    names = list(sources.tasks())
    room = ROOM // max(1, len(names))
    return [_Eval(sources, name).some(room) for name in names]


def whole_table(sources: ReportSources, name: str) -> ExampleTable:
    """Of one eval all examples."""
    return _Eval(sources, name).whole()


def example_csv(sources: ReportSources, name: str) -> str:
    """A row an example and state with all that was scored. No cell is a formula."""
    plan = sources.cells(name)[0][1]
    columns = ["eval", "state", "protocol", *task_of(plan.task).schema.names]
    return csv_text(columns, _csv_rows(sources, name))


def _csv_rows(sources: ReportSources, name: str) -> Iterator[dict[str, Any]]:
    for cell, _ in sources.cells(name):
        where = {"eval": name, "state": cell[0], "protocol": cell[1]}
        for score in sources.scores[cell]:
            yield where | {
                column: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
                for column, value in score.items()
            }


class _Eval:
    """The states of one eval and their scores by example."""

    def __init__(self, sources: ReportSources, name: str) -> None:
        cells = sources.cells(name)
        self.name, self.plan = name, cells[0][1]
        self.task = task_of(self.plan.task)
        places = {cell: place for place, (cell, _) in enumerate(cells)}
        self.told = [_told(sources, name, cell, places) for cell, _ in cells]
        self.ids = list(dict.fromkeys(chain.from_iterable(told.scores for told in self.told)))
        self.letters = dict(zip(self.task.groups, _GROUPS, strict=False))

    def whole(self) -> ExampleTable:
        rows = [self._example(at, _LONGEST) for at in range(len(self.ids))]
        return self._table(rows)

    def some(self, room: int) -> ExampleTable:
        states = len(self.told)
        fitting = room // (_ROW + states * (_REPLY + _FEWEST))
        count = max(1, min(SHOWN, len(self.ids), fitting))
        limit = max(_FEWEST, min(1200, (room // count - _ROW) // states - _REPLY))
        return self._table([self._example(at, limit) for at in self._drawn(count)])

    def _table(self, rows: list[ShownExample]) -> ExampleTable:
        return ExampleTable(
            eval=self.name,
            task=self.plan.task,
            page=f"examples/{self.name}.html",
            file=f"examples/{self.name}.csv",
            states=[told.label for told in self.told],
            bases=[told.base for told in self.told],
            kinds=self._kinds(rows),
            good=self._words()[0],
            golden=any(row["gold"] for row in rows),
            grouped=any(row["group"] for row in rows),
            count=len(self.ids),
            rows=rows,
        )

    def _kinds(self, rows: list[ShownExample]) -> list[tuple[str, str]]:
        """What some row is."""
        good, bad = self._words()
        named = [(RIGHT, good), (WRONG, bad), (PARTLY, "partly right"), (UNREAD, "unparsed")]
        named += [(CHANGED, "changed against the base")]
        named += [(letter, title) for title, letter in self.letters.items()]
        found = set("".join(row["flags"] for row in rows))
        return [(letter, title) for letter, title in named if letter in found]

    def _words(self) -> tuple[str, str]:
        return ("safe", "unsafe") if self.plan.task == "safety" else ("right", "wrong")

    def _drawn(self, count: int) -> list[int]:
        """Places of examples, from each group in turn: drawn by a fixed seed, because the first
        ones of a file are often alike, and by group, because those that changed may be few."""
        alike: dict[str, list[int]] = {}
        for place, known in enumerate(self.ids):
            states = [self._flags(told, known) for told in self.told]
            # The run that changed most says where a row belongs.
            alike.setdefault(max(states, key=lambda flags: (CHANGED in flags, flags)), []).append(
                place
            )
        draw = random.Random(self.name)
        for places in alike.values():
            draw.shuffle(places)
        turns = chain.from_iterable(zip_longest(*alike.values()))
        return sorted([place for place in turns if place is not None][:count])

    def _example(self, place: int, limit: int) -> ShownExample:
        known = self.ids[place]
        scores = [told.scores.get(known) for told in self.told]
        first = next(score for score in scores if score is not None)
        flags = [self._flags(told, known) for told in self.told]
        return ShownExample(
            id=known,
            place=place,
            question=_clipped(self.task.question(first), limit),
            gold=_text(first.get("gold"), limit),
            group=_text(first.get("hazard_group") or first.get("group"), limit),
            right=sum(RIGHT in found for found in flags),
            of=sum(UNDECIDED not in found and found != "-" for found in flags),
            changed=sum(CHANGED in found for found in flags),
            flags=" ".join(flags),
            replies=[
                self._reply(at, score, flags[at], limit)
                for at, score in enumerate(scores)
                if score is not None
            ],
        )

    def _reply(self, at: int, score: Score, flags: str, limit: int) -> ExampleReply:
        return ExampleReply(
            state=self.told[at].label,
            place=at,
            mark=_MARKS[flags[0]],
            reading=self.task.reading(score),
            cut=score.get("finish") == "length",
            text=_clipped(self.task.output(score), limit),
            judge=_one_line(score["raw"], limit) if score.get("raw") is not None else None,
        )

    def _flags(self, told: _Told, known: str) -> str:
        """The word of a state: see `ShownExample`."""
        score = told.scores.get(known)
        if score is None:
            return "-"
        value = self._value(score)
        found = _outcome(value) + (UNREAD if _unread(score) else "")
        base = self.told[told.base].scores.get(known) if told.base >= 0 else None
        if base is None:
            return found
        before = self._value(base)
        if None not in (value, before) and value != before:
            found += CHANGED
        groups = self.task.groups.items()
        return found + "".join(self.letters[name] for name, among in groups if among(base, score))

    def _value(self, score: Score) -> float | None:
        """What the example is worth by the eval's primary metric, from 0 to 1."""
        of = self.task.paired.get(self.plan.primary)
        value = of(score) if of else score.get("correct")
        return None if value is None else float(value)


def _told(sources: ReportSources, name: str, cell: Cell, places: dict[Cell, int]) -> _Told:
    run = next((run for run in sources.runs if run.state == cell[0]), None)
    base = places.get((run.base_state, cell[1]), -1) if run and run.base_state else -1
    scores = {row["id"]: row for row in sources.scores[cell]}
    return _Told(sources.label(cell, name), base, scores)


def _outcome(value: float | None) -> str:
    if value is None:
        return UNDECIDED
    return RIGHT if value >= 1 else WRONG if value <= 0 else PARTLY


def _unread(score: Score) -> bool:
    """Whether nothing could be read out of the reply."""
    read = [score[column] for column in ("parsed", "predicted", "choice") if column in score]
    return read == [None] or score.get("verdict") in ("unparsed", "empty")


def _clipped(text: str, limit: int) -> tuple[str, int]:
    """Like `excerpt`, but by the bytes that it takes on the page, which letters beyond ASCII have
    more of."""
    shown, left_out = excerpt(text, limit)
    fitting = shown.encode(errors="replace")[:limit].decode(errors="ignore")
    return fitting, left_out + len(shown) - len(fitting)


def _text(value: object, limit: int) -> str:
    """A short value, such as a label."""
    if value is None:
        return ""
    shown, left_out = _clipped(str(value), min(limit, 300))
    return f"{shown} …" if left_out else shown


def _one_line(raw: str, limit: int) -> str:
    """The judge's words without the empty lines around its thoughts."""
    return _text(" ".join(raw.split()), limit)
