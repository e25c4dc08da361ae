"""Any table whose columns the config names: questions with options, with open answers, or with a
label."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from snaketune.config.dataset import ColumnsSpec, DatasetSpec
from snaketune.data.example import GOLDS, Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.formats.values import (
    LETTERS,
    canonical_number,
    checked_label,
    checked_options,
    final_number,
    option_places,
    read_printed,
)
from snaketune.data.record import Fields, RecordError, is_blank


@dataclass(frozen=True)
class _Options:
    """A question's options as the record holds them."""

    field: str
    """The name of the field or fields, for messages."""
    places: list[str]
    """That of each option, likewise."""
    values: list
    labels: list[str] | None = None
    """What the record itself calls them, where that need not be A, B, C, …"""


@data_format(task="open_qa")
class NamedColumns(Format):
    """Records read by `columns`. Questions may differ in how many options they have; of several
    right answers in a list, in SQuAD's `{"text": […]}` or TriviaQA's `{"value": …, "aliases": […]}`
    any is right; `question.stem` is a field
    within a field."""

    settings: ClassVar = {
        "columns": {
            "question": "question",
            "choices": "choices",
            "answer": "answerKey",
            "answer_is": "letter",
        }
    }
    shown: ClassVar = {
        "question": "Where is Bob?",
        "choices": {"text": ["garden", "market"], "label": ["A", "B"]},
        "answerKey": "B",
    }

    def __init__(
        self,
        columns: ColumnsSpec,
        keep_repeated: bool,
        labels: Sequence[str] = (),
        numeric: bool = False,
    ) -> None:
        self.named, self.keep_repeated, self.labels = columns, keep_repeated, labels
        self.numeric = numeric
        choices = [columns.choices] if isinstance(columns.choices, str) else columns.choices or []
        single = [columns.question, columns.context, columns.answer, columns.label, columns.id]
        named = [*single, *choices, *columns.keep]
        # `question.stem`: a field within a field, where no field is called so.
        places = [(name, name.partition(".")[0]) for name in named if name is not None]
        self.columns = tuple(tuple(dict.fromkeys(names)) for names in places)

    @classmethod
    def from_spec(cls, spec: DatasetSpec, numeric: bool) -> Self:
        if spec.columns is None:
            raise ValueError("format table without columns")  # the config refuses it before
        keep_repeated = spec.repeated_options == "keep"
        return cls(spec.columns, keep_repeated, spec.labels, numeric)

    def example(self, fields: Fields) -> Example:
        fields = replace(fields, value=fields.value | self._inner(fields.value))
        kept = {name: fields.value.get(name) for name in self.named.keep}
        found = self._answered(fields)
        meta = json.dumps(kept | json.loads(found.meta), ensure_ascii=False, default=str)
        return replace(found, meta=meta)

    def _inner(self, value: dict) -> dict:
        """The fields within fields that `columns` names, under these names."""
        found = {}
        for name, *_ in self.columns:
            first, _, rest = name.partition(".")
            inner = value.get(first) if name not in value else None
            if rest and isinstance(inner, dict) and rest in inner:
                found[name] = inner[rest]
        return found

    def _answered(self, fields: Fields) -> Example:
        named = self.named
        question = fields.text(named.question)
        context = fields.optional_text(named.context) if named.context else None
        own_id = fields.identifier(named.id) if named.id else ""
        if named.label is not None:
            label = checked_label(fields, named.label, self.labels)
            return Example(own_id, question, context, answer=label, label=label)
        name = named.answer or ""  # the config refuses neither answer nor label
        if named.choices is None:
            return self._open(fields, name, Example(own_id, question, context))
        found = self._options(fields, named.choices)
        texts = checked_options(
            found.field, found.places, found.values, keep_repeated=self.keep_repeated
        )
        if len(texts) < 2:
            expected = "at least two options"
            raise RecordError("wrong_options", found.field, f"{len(texts)} options", expected)
        right = self._right(fields, name, texts, found.labels)
        return Example(
            own_id,
            question,
            context,
            answer=texts[right],
            gold=texts[right],
            choices=texts,
            label=LETTERS[right],
        )

    def _open(self, fields: Fields, name: str, example: Example) -> Example:
        """An open answer. Where it has to be a number, that is the gold one: all of the answer, or
        what follows its last `####`. Of a list (or SQuAD's `text`) the first is the one that is
        trained on, and any of them is right."""
        several = _several(fields.value.get(name))
        if several == []:
            expected = "an answer; a question that has none can't be scored"
            raise RecordError("no_answer", name, "an empty list of answers", expected)
        if not self.numeric and several:
            if not all(isinstance(text, str) and not is_blank(text) for text in several):
                raise fields.fault("wrong_type", name, "a list of texts, none empty")
            meta = json.dumps({GOLDS: several[1:]} if several[1:] else {}, ensure_ascii=False)
            return replace(example, answer=several[0], gold=several[0], meta=meta)
        whole = isinstance(fields.value.get(name), int)
        answer = fields.identifier(name) if self.numeric or whole else fields.text(name)
        gold = canonical_number(answer) or final_number(answer) if self.numeric else answer
        if gold is None:
            expected = "a number, or text that ends with `#### ` and one, as task math needs"
            raise fields.fault("no_number", name, expected)
        return replace(example, answer=answer, gold=gold)

    def _options(self, fields: Fields, names: str | list[str]) -> _Options:
        if isinstance(names, list):
            missing = next((n for n in names if n not in fields.value), None)
            if missing is not None:
                raise RecordError("missing", missing, "no such field", "an option")
            return _Options(", ".join(names), names, [fields.value[n] for n in names])
        value = fields.value.get(names)
        if isinstance(value, str):
            value = _unprinted(value)
        if value and isinstance(value, dict) and sorted(value) == list(LETTERS[: len(value)]):
            letters = sorted(value)
            return _Options(names, [f"{names}.{k}" for k in letters], [value[k] for k in letters])
        labels = None
        if isinstance(value, list) and value and all(_is_labelled(option) for option in value):
            value = {key: [option[key] for option in value] for key in ("text", "label")}
        if isinstance(value, dict) and set(value) == {"text", "label"}:
            value, labels = value["text"], value["label"]
        if not isinstance(value, list) or (labels is not None and not _name_each(labels, value)):
            raise fields.fault("wrong_options", names, "a list of options")
        return _Options(names, option_places(names, len(value)), value, labels)

    def _right(
        self, fields: Fields, name: str, options: list[str], labels: list[str] | None
    ) -> int:
        """The place of the right option."""
        letters = labels or list(LETTERS[: len(options)])
        answer = fields.identifier(name)
        if self.named.answer_is == "text":
            found = [i for i, option in enumerate(options) if option == answer]
            expected = "the text of one of the options"
        elif self.named.answer_is == "letter":
            found = [letters.index(answer)] if answer in letters else []
            expected = f"a letter among {', '.join(letters)}"
        else:
            first = 1 if self.named.answer_is == "index_from_1" else 0
            found = [i for i in range(len(options)) if answer == str(i + first)]
            expected = f"a number from {first} to {len(options) - 1 + first}"
        if not found:
            raise fields.fault("no_such_option", name, expected)
        return found[0]


def _several(answer: object) -> list | None:
    """The answers of a list of them, of SQuAD's `{"text": […], "answer_start": […]}` (nested or
    not), or of TriviaQA's `{"value": …, "aliases": […]}`; None of anything else."""
    if isinstance(answer, dict) and isinstance(answer.get("aliases"), list):
        return list(dict.fromkeys([answer.get("value"), *answer["aliases"]]))  # as TriviaQA's
    found = answer.get("text") if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        return None
    return [one["text"] if isinstance(one, dict) and "text" in one else one for one in found]


def _is_labelled(option: object) -> bool:
    """Whether it is `{"text": …, "label": …}`, as ARC's options are."""
    return isinstance(option, dict) and set(option) == {"text", "label"}


def _name_each(labels: object, options: object) -> bool:
    """Whether there is a text for each option, all of them different."""
    return (
        isinstance(labels, list)
        and isinstance(options, list)
        and all(isinstance(label, str) and label for label in labels)
        and len(set(labels)) == len(labels) == len(options)
    )


def _unprinted(text: str) -> object:
    """A list or an object that a CSV holds as JSON, or as Python prints it."""
    try:
        return read_printed(text)
    except ValueError:
        return text
