"""What a user's records are, guessed from their names and values: which format reads them, which
columns hold the question, the answer or the label, and which task asks them.

A guess is tried on the records before it is taken, by the format that it names.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from snaketune.config.base import FORMATS
from snaketune.config.dataset import DatasetSpec
from snaketune.data.columns import (
    ABOUT,
    ANSWERS,
    CONTEXTS,
    GROUPS,
    LABELS,
    LETTERED,
    LISTS,
    PAIRS,
    QUESTIONS,
    Columns,
    Row,
)
from snaketune.data.formats.base import Format, format_for
from snaketune.data.formats.values import canonical_number, final_number, read_printed
from snaketune.data.record import Fields, RecordError
from snaketune.runtime.errors import UserError


@dataclass(frozen=True)
class Guess:
    """A dataset's section, its task, and in words what was recognised."""

    format: str
    task: str
    what: str
    columns: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    group: str | None = None

    def section(self, source: str) -> dict[str, Any]:
        """The keys of `datasets.X` that it decides."""
        keys = {"columns": self.columns, "labels": self.labels, "group": self.group}
        named = {key: value for key, value in keys.items() if value}
        return {"source": source, "format": self.format, **named}

    def reader(self) -> Format:
        """What reads the records."""
        numeric = self.format == "table" and self.task == "math"
        return format_for(DatasetSpec.model_validate(self.section("x.jsonl")), numeric)


BY_KEYS: dict[tuple[str, ...], Guess] = {
    ("messages",): Guess("chat", "open_qa", "conversations (messages, as OpenAI has them)"),
    ("conversation",): Guess("chat", "open_qa", "conversations"),
    ("conversations",): Guess("chat", "open_qa", "conversations (ShareGPT)"),
    ("chosen", "rejected"): Guess("chat", "open_qa", "preference pairs: `chosen` is trained on"),
    ("instruction", "output"): Guess("chat", "open_qa", "instructions (Alpaca)"),
    ("prompt", "completion"): Guess("chat", "open_qa", "prompts and completions"),
    ("qa_pairs",): Guess("f1_qa", "multiple_choice", "articles with questions"),
    ("prompt_text", "hazard"): Guess("ailuminate", "safety", "prompts by hazard (AILuminate)"),
    ("original-instruction", "original-response"): Guess("dolly", "open_qa", "Dolly, curated"),
    ("instruction", "context", "response"): Guess("dolly", "open_qa", "Dolly"),
}
"""By the fields that records have: the first that fits is taken."""
TEXT = Guess("text", "perplexity", "plain text for continued training")
SAFETY = Guess("ailuminate", "safety", "prompts without answers")


def guess(rows: Sequence[Row], classes: Mapping[str, list[str]]) -> Guess:
    """What `rows` are; `classes` are the source's own class names by column. Raises `UserError`
    where it can't be told."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if any(len(n) > 60 or (len(n.split()) > 3 and n.strip()[-1] in ".?!") for n in names):
        expected = "expected a first line with these, such as question,answer"
        raise UserError(f"found a record in the place of the columns' names, {expected}")
    table = Columns(names, rows, classes)
    for keys, known in BY_KEYS.items():
        if set(keys) <= set(names):
            return known
    # Of the others nothing can be told.
    names = [name for name in names if table.values(name)]
    table = replace(table, names=names)
    if {"role", "parent_id"} <= set(map(str.lower, names)):
        expected = "expected a conversation a record: `messages`, a list of turns"
        raise UserError(f"found a message a record (role, parent_id); {expected}")
    own = [name for name in names if table.texts(name) and name.lower() not in ABOUT]
    lists = set(table.nested()) - {name for name in names if name.lower() in ABOUT}
    if own == ["text"] and not lists and table.called(LABELS) is None:
        return TEXT
    if len(own) == 1 and set(map(str.lower, names)) <= {own[0].lower(), *ABOUT}:
        if own[0] == "prompt":
            return SAFETY
        raise UserError(
            f"found {_listed(table)} with nothing to learn; expected a question and its answer or "
            "label, or a column `prompt` or `text` alone"
        )
    answers = table.values("answer") if "question" in names else []
    if answers and all(isinstance(v, str) and final_number(v) for v in answers):
        kind = "gsm_symbolic" if "final_answer" in names else "gsm8k"
        return Guess(kind, "math", "problems whose answers end with #### and a number")
    return _of_table(table)


def _of_table(table: Columns) -> Guess:
    nested = table.values("question")
    if nested and all(isinstance(v, dict) and {"stem", "choices"} <= v.keys() for v in nested):
        inner = {"question": "question.stem", "choices": "question.choices"}
        return _choice(table, inner | {"answer": table.called(ANSWERS)})
    options = _options_of(table)
    taken = options if isinstance(options, list) else [options]
    context = table.called(CONTEXTS)
    named = [c for n in QUESTIONS if (c := table.called([n], taken)) and table.texts(c)]
    asked = named[0] if named else _longest(table, [*taken, context])
    answer = table.called(ANSWERS[:-1])
    if not named and context and answer and table.texts(context):
        asked = context  # such as an article and its summary
    if asked is None:
        raise UserError(
            f"found no column of text among {_listed(table)}; expected one to ask{_way(table)}"
        )
    columns = {"question": asked}
    if context and context != asked and table.texts(context):
        columns["context"] = context
    taken = [*taken, *columns.values()]
    if options:
        return _choice(
            table, columns | {"choices": options, "answer": table.called(ANSWERS, taken)}
        )
    return _answered(table, columns, taken)


def _answered(table: Columns, columns: dict[str, Any], taken: list[Any]) -> Guess:
    """Of questions without options: a label, or an open answer."""
    group = table.called(GROUPS, taken)
    further = [n for n in table.names if n not in {*taken, group} and n.lower() not in ABOUT]
    answer = table.called(ANSWERS[:-1], taken)
    label = table.called(LABELS, taken)
    if answer and all(isinstance(value, bool) for value in table.values(answer)):
        label, answer = answer, None
    if label and (answer is None or label != answer) and table.kinds(label) and not answer:
        return _classes(table, columns, label, group)
    if answer is None and len(further) == 1:
        if table.kinds(further[0]):
            return _classes(table, columns, further[0], group)
        answer = further[0]
    if answer is None or not table.values(answer):
        raise UserError(
            f"found {_listed(table)} and can't tell which column is the answer or the label; "
            f"expected it to be called so, such as `answer` or `label`{_way(table)}"
        )
    columns["answer"] = answer
    numbers = all(map(_is_number, table.values(answer)))
    what = "problems with a number each" if numbers else "questions with open answers"
    task = "math" if numbers else "open_qa"
    return Guess("table", task, what, columns, group=_held(table, group))


def _way(table: Columns) -> str:
    """What to do with lists and objects, which nobody can tell the use of."""
    if not (nested := table.nested()):
        return ""
    return (
        f". `{nested[0][:30]}` holds lists or objects: conversations are read from `messages`, a "
        "list of turns with role and content; what lies in an object has a column's place as "
        "FIELD.FIELD in a config of your own"
    )


def unused_columns(found: Guess, rows: Sequence[Row]) -> list[str]:
    """The columns that hold something, but have no part in an example."""
    if not found.columns:
        return []
    used = {found.group, *ABOUT}
    for value in found.columns.values():
        several = value if isinstance(value, list) else [value]
        used |= {part for name in several for part in (name, str(name).partition(".")[0])}
    table = Columns(list(dict.fromkeys(name for row in rows for name in row)), rows, {})
    return [n for n in table.names if n not in used and n.lower() not in ABOUT and table.values(n)]


def _is_number(value: object) -> bool:
    plain = isinstance(value, int | str) and not isinstance(value, bool)
    return plain and (canonical_number(str(value)) or final_number(str(value))) is not None


def _classes(table: Columns, columns: dict[str, Any], label: str, group: str | None) -> Guess:
    found = table.kinds(label)
    for first, other in PAIRS:
        pair = table.called([first]), table.called([other])
        if all(pair) and columns["question"] in pair:
            columns = columns | {"question": pair[1], "context": pair[0]}
    what = f"texts of {len(found)} classes"
    columns = columns | {"label": label}
    return Guess("table", "classification", what, columns, found, _held(table, group))


def _held(table: Columns, group: str | None) -> str | None:
    """The column that rows share which belong together, where there are several such groups."""
    found = Counter(map(str, table.values(group))) if group else Counter()
    return group if 3 <= len(found) < len(table.rows) == found.total() else None


def _options_of(table: Columns) -> str | list[str] | None:
    """The column or columns of a question's options."""
    lettered = [name for name in table.names if LETTERED.fullmatch(name)]
    first = [name[-1].lower() for name in lettered]
    if len(lettered) >= 2 and first[0] in ("a", "0", "1"):
        follow = [chr(ord(first[0]) + i) for i in range(len(first))]
        if first == follow:
            return lettered
    for name in LISTS:
        column = table.called([name])
        if column and table.values(column) and all(map(_lists_options, table.values(column))):
            return column
    return None


def _lists_options(value: object) -> bool:
    if isinstance(value, str):
        with suppress(ValueError):
            value = read_printed(value)
    if isinstance(value, dict):
        value = value["text"] if set(value) == {"text", "label"} else list(value.values())
    plain = value if isinstance(value, list) and len(value) > 1 else [None]
    return all(isinstance(v, str | int | dict) for v in plain)


def _choice(table: Columns, columns: dict[str, Any]) -> Guess:
    """Questions with options; how the answer names one is what most records are read by."""
    if columns["answer"] is None:
        if isinstance(columns["choices"], str) and columns["choices"].lower() == "answers":
            return _answered(table, {"question": columns["question"]}, [columns["question"]])
        raise UserError(
            f"found options, but no column among {_listed(table)} that says which one is right; "
            "expected one such as `answer`"
        )
    tried = [
        Guess("table", "multiple_choice", "questions with options", columns | {"answer_is": kind})
        for kind in ("letter", "index", "index_from_1", "text")
    ]
    return min(tried, key=lambda one: len(unreadable(one, table.rows, table.classes)))


def unreadable(
    found: Guess, rows: Iterable[Row], classes: Mapping[str, list[str]]
) -> list[RecordError]:
    """The faults of the rows that the guess can't read."""
    if found.format not in FORMATS:
        raise UserError(f"found {found.what}, for which this version has no format")
    reader, faults = found.reader(), []
    for row in rows:
        try:
            reader.example(Fields(row, reader.private, dict(classes)))
        except RecordError as fault:
            faults.append(fault)
    return faults


def _longest(table: Columns, taken: Sequence[Any]) -> str | None:
    """The column of the longest texts."""
    free = [n for n in table.names if n not in taken and n.lower() not in ABOUT and table.texts(n)]
    found = {name: sum(len(str(value)) for value in table.values(name)) for name in free}
    return max(found, key=lambda name: found[name], default=None)


def _listed(table: Columns) -> str:
    shown = [repr(name[:30]) for name in table.names]
    return f"the columns {', '.join(shown[:10])}{' and others' if len(shown) > 10 else ''}"
