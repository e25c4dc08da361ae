"""What a user's records are, guessed from their names and values: which format reads them, which
columns hold the question, the answer or the label, and which task asks them.

A guess is tried on the records before it is taken, by the format that it names.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from snaketune.config.base import FORMATS
from snaketune.config.dataset import DatasetSpec
from snaketune.data.formats.base import Format, format_for
from snaketune.data.formats.values import canonical_number, final_number, read_printed
from snaketune.data.record import Fields, RecordError, is_missing
from snaketune.runtime.errors import UserError

Row = dict[str, Any]


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


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Names that columns have, the likeliest first.
_ABOUT = {"", "unnamed: 0", *_words("id idx index title url source meta lang language")}
_QUESTIONS = _words(
    "question query prompt instruction problem ctx input text sentence note review message "
    "utterance content body frage aufgabe pregunta domanda premise"
)
_ANSWERS = _words(
    "answer answers response output completion target reply gold solution answerkey answer_key "
    "correct_answer correct key final_answer antwort lösung réponse reponse respuesta risposta "
    "summary translation label"
)
_CONTEXTS = _words("context passage document story article paragraph support kontext")
_LABELS = _words(
    "label class category sentiment intent topic rating stars emotion stance target klasse "
    "kategorie toxic spam y"
)
_GROUPS = _words(
    "patient user subject author speaker thread template session family group patient_id user_id "
    "thread_id template_id document_id"
)
_LISTS = ("choices", "options", "endings", "answers")
_LETTERED = re.compile(r"(?:option|choice|opt|answer)?[ _]?([A-Ha-h]|[0-9])")
_MOST_LABELS = 50


def guess(rows: Sequence[Row], classes: Mapping[str, list[str]]) -> Guess:
    """What `rows` are; `classes` are the source's own class names by column. Raises `UserError`
    where it can't be told."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if any(len(n) > 60 or (len(n.split()) > 3 and n.strip()[-1] in ".?!") for n in names):
        expected = "expected a first line with these, such as question,answer"
        raise UserError(f"found a record in the place of the columns' names, {expected}")
    table = _Columns(names, rows, classes)
    for keys, known in BY_KEYS.items():
        if set(keys) <= set(names):
            return known
    own = [name for name in names if table.texts(name) and name.lower() not in _ABOUT]
    if own == ["text"]:
        return TEXT
    if len(own) == 1 and set(map(str.lower, names)) <= {own[0].lower(), *_ABOUT}:
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


@dataclass(frozen=True)
class _Columns:
    names: list[str]
    rows: Sequence[Row]
    classes: Mapping[str, list[str]]

    def values(self, name: str) -> list[Any]:
        """Those that are there and no empty text."""
        found = [row.get(name) for row in self.rows]
        return [
            v for v in found if not is_missing(v) and not (isinstance(v, str) and not v.strip())
        ]

    def texts(self, name: str) -> bool:
        """Whether most values are texts that are no numbers."""
        told = [isinstance(v, str) and canonical_number(v) is None for v in self.values(name)]
        return sum(told) * 2 > len(told)

    def called(self, wanted: Iterable[str], taken: Iterable[str | None] = ()) -> str | None:
        """The first of the wanted names that a column has, in any case."""
        lower = {name.lower().strip(): name for name in self.names if name not in set(taken)}
        return next((lower[name] for name in wanted if name in lower), None)

    def kinds(self, name: str) -> list[str]:
        """The different values as labels, sorted; none where they are no labels: too many, too
        long, or none twice."""
        values = [_as_label(value) for value in self.values(name)]
        if any(value is None or len(value) > 60 for value in values):
            return []
        known = self.classes.get(name)
        if known and all(isinstance(value, int) for value in self.values(name)):
            return list(known)
        found = Counter(map(str, values))
        few = 2 <= len(found) <= min(_MOST_LABELS, max(2, len(values) // 2))
        return sorted(found) if few and (len(values) <= 4 or max(found.values()) > 1) else []


def _as_label(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, str | int) else None


def _of_table(table: _Columns) -> Guess:
    nested = table.values("question")
    if nested and all(isinstance(v, dict) and {"stem", "choices"} <= v.keys() for v in nested):
        inner = {"question": "question.stem", "choices": "question.choices"}
        return _choice(table, inner | {"answer": table.called(_ANSWERS)})
    options = _options_of(table)
    taken = options if isinstance(options, list) else [options]
    context = table.called(_CONTEXTS)
    named = [c for n in _QUESTIONS if (c := table.called([n], taken)) and table.texts(c)]
    asked = named[0] if named else _longest(table, [*taken, context])
    if asked is None:
        raise UserError(f"found no column of text among {_listed(table)}; expected one to ask")
    columns = {"question": asked}
    if context and context != asked and table.texts(context):
        columns["context"] = context
    taken = [*taken, *columns.values()]
    if options:
        return _choice(
            table, columns | {"choices": options, "answer": table.called(_ANSWERS, taken)}
        )
    return _answered(table, columns, taken)


def _answered(table: _Columns, columns: dict[str, Any], taken: list[Any]) -> Guess:
    """Of questions without options: a label, or an open answer."""
    group = table.called(_GROUPS, taken)
    further = [n for n in table.names if n not in {*taken, group} and n.lower() not in _ABOUT]
    answer = table.called(_ANSWERS[:-1], taken)
    label = table.called(_LABELS, taken)
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
            "expected it to be called so, such as `answer` or `label`"
        )
    columns["answer"] = answer
    numbers = all(map(_is_number, table.values(answer)))
    what = "problems with a number each" if numbers else "questions with open answers"
    task = "math" if numbers else "open_qa"
    return Guess("table", task, what, columns, group=_held(table, group))


def _is_number(value: object) -> bool:
    plain = isinstance(value, int | str) and not isinstance(value, bool)
    return plain and (canonical_number(str(value)) or final_number(str(value))) is not None


def _classes(table: _Columns, columns: dict[str, Any], label: str, group: str | None) -> Guess:
    found = table.kinds(label)
    what = f"texts of {len(found)} classes"
    columns = columns | {"label": label}
    return Guess("table", "classification", what, columns, found, _held(table, group))


def _held(table: _Columns, group: str | None) -> str | None:
    """The column that rows share which belong together, where there are several such groups."""
    found = Counter(map(str, table.values(group))) if group else Counter()
    return group if 3 <= len(found) < len(table.rows) == found.total() else None


def _options_of(table: _Columns) -> str | list[str] | None:
    """The column or columns of a question's options."""
    lettered = [name for name in table.names if _LETTERED.fullmatch(name)]
    first = [name[-1].lower() for name in lettered]
    if len(lettered) >= 2 and first[0] in ("a", "0", "1"):
        follow = [chr(ord(first[0]) + i) for i in range(len(first))]
        if first == follow:
            return lettered
    for name in _LISTS:
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


def _choice(table: _Columns, columns: dict[str, Any]) -> Guess:
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


def _longest(table: _Columns, taken: Sequence[Any]) -> str | None:
    """The column of the longest texts."""
    free = [n for n in table.names if n not in taken and n.lower() not in _ABOUT and table.texts(n)]
    found = {name: sum(len(str(value)) for value in table.values(name)) for name in free}
    return max(found, key=lambda name: found[name], default=None)


def _listed(table: _Columns) -> str:
    shown = [repr(name[:30]) for name in table.names]
    return f"the columns {', '.join(shown[:10])}{' and others' if len(shown) > 10 else ''}"
