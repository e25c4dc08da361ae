"""Articles with questions and options, a file an article, raw or processed.

The raw form of a pair has `correct_answer` and three `wrong_options`; the processed form has
`options` by letter, `ground_truth_correct_option` and, mostly, a `rephrased_question`.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import ClassVar, Literal, Self

from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data.example import ORIGINAL, Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.formats.values import LETTERS, checked_options, option_places
from snaketune.data.record import Fields, Record, RecordError, Table, describe, fields_found
from snaketune.runtime.errors import UserError

_COUNT = 4

Form = Literal["raw", "processed"]


@data_format(task="multiple_choice", many_files="qa_*.json", seeded=True)
@dataclass(frozen=True)
class F1Qa(Format):
    """The pairs of every article. Raw options get letters by `seed`, the same ones whatever else
    is read. Training learns `question`; other splits ask `rephrased_question` where there is one
    and keep `question` beside it.
    """

    seed: int
    keep_repeated: bool
    shown: ClassVar = {
        "article_number": 1,
        "title": "A race",
        "qa_pairs": [
            {
                "question": "Who won?",
                "correct_answer": "Ada",
                "wrong_options": ["Ben", "Cleo", "Dov"],
            }
        ],
    }

    @classmethod
    def from_spec(cls, spec: DatasetSpec, numeric: bool) -> Self:
        return cls(spec.seed, spec.repeated_options == "keep")

    def expand(self, tables: list[Table], split: SplitName) -> list[Table]:
        """One table a file, with a record a pair, numbered from 1. All files have one form."""
        pairs = [list(_pairs(table, split)) for table in tables]
        _require_one_form(tables, pairs)
        return [replace(t, records=iter(own)) for t, own in zip(tables, pairs, strict=True)]

    def example(self, fields: Fields) -> Example:
        processed = _form(fields.value) == "processed"
        options, right = self._lettered(fields) if processed else self._drawn(fields)
        kept = {k: fields.value[k] for k in ("article", "title") if fields.value.get(k)}
        rephrased = fields.optional_text("rephrased_question")
        if rephrased and (original := fields.optional_text("question")):
            kept[ORIGINAL] = original
        return Example(
            id="",
            question=rephrased or fields.text("question"),
            answer=options[right],
            gold=options[right],
            choices=options,
            label=LETTERS[right],
            meta=json.dumps(kept, ensure_ascii=False),
        )

    def _lettered(self, fields: Fields) -> tuple[list[str], int]:
        by_letter = fields.value.get("options")
        letters = LETTERS[:_COUNT]
        if not isinstance(by_letter, dict) or sorted(by_letter) != list(letters):
            raise fields.fault("wrong_options", "options", "an object with the options A, B, C, D")
        letter = fields.text("ground_truth_correct_option").strip()
        if letter not in letters:
            expected = f"a letter among {', '.join(letters)}"
            raise fields.fault("no_such_option", "ground_truth_correct_option", expected)
        options = [by_letter[k] for k in letters]
        named = [f"options.{k}" for k in letters]
        texts = checked_options("options", named, options, keep_repeated=self.keep_repeated)
        right = letters.index(letter)
        said = fields.optional_text("correct_answer")
        if said and " ".join(said.split()) != " ".join(texts[right].split()):
            expected = f"the letter of correct_answer, {describe(said)}"
            raise fields.fault("contradiction", "ground_truth_correct_option", expected)
        return texts, right

    def _drawn(self, fields: Fields) -> tuple[list[str], int]:
        right = fields.text("correct_answer")
        wrong = fields.value.get("wrong_options")
        if not isinstance(wrong, list) or len(wrong) != _COUNT - 1:
            expected = f"a list of {_COUNT - 1} wrong options"
            raise fields.fault("wrong_options", "wrong_options", expected)
        keep, named = (
            self.keep_repeated,
            ["correct_answer", *option_places("wrong_options", len(wrong))],
        )
        options = checked_options("wrong_options", named, [right, *wrong], keep_repeated=keep)
        # Seeded by the question itself: a limit or another file changes no other letters.
        draw = random.Random(f"{self.seed} {fields.value.get('question')} {right}")
        order = draw.sample(range(_COUNT), _COUNT)
        return [options[i] for i in order], order.index(0)


def _form(pair: dict) -> Form:
    """By either of the fields that only the processed form has, so that a pair that lacks one of
    them is told so."""
    marks = ("options", "ground_truth_correct_option")
    return "processed" if any(mark in pair for mark in marks) else "raw"


def _pairs(table: Table, split: SplitName) -> Iterator[Record]:
    """The pairs of a file; an article without any is one faulty record, and so is a file without
    an article."""
    number = 0
    for article in _articles(table):
        for value in _values(article):
            number += 1
            if isinstance(value, RecordError) or isinstance(article.value, RecordError):
                yield Record(number, value, article.raw)
            else:
                yield Record(number, _asked(value, article.value, split), value)


def _articles(table: Table) -> Iterator[Record]:
    nothing = RecordError("no_article", None, "no article", "an article with qa_pairs")
    found = next(table.records, Record(1, nothing, None))
    yield from chain([found], table.records)


def _values(article: Record) -> list[dict | RecordError]:
    if isinstance(article.value, RecordError):
        return [article.value]
    pairs = article.value.get("qa_pairs")
    if "qa_pairs" not in article.value:
        found = fields_found(list(article.value))
        return [RecordError("missing", "qa_pairs", found, "a list of pairs")]
    if not isinstance(pairs, list) or not pairs:
        return [RecordError("no_pairs", "qa_pairs", describe(pairs), "a list of pairs")]
    fault = "a question with its options as an object"
    return [
        p if isinstance(p, dict) else RecordError("not_an_object", "qa_pairs", describe(p), fault)
        for p in pairs
    ]


def _asked(pair: dict, article: dict, split: SplitName) -> dict:
    about = {"article": article.get("article_number"), "title": article.get("title")}
    unused = {"rephrased_question"} if split == "train" else set()
    return {k: v for k, v in pair.items() if k not in unused} | about


def _require_one_form(tables: list[Table], pairs: list[list[Record]]) -> None:
    first: dict[Form, str] = {}
    for table, records in zip(tables, pairs, strict=True):
        for record in records:
            if isinstance(record.value, dict):
                first.setdefault(
                    _form(record.value), f"{table.path}: qa_pairs: pair {record.number}"
                )
    if len(first) > 1:
        raise UserError(
            f"{first['processed']}: field options: found the processed form, where "
            f"{first['raw'].replace(': qa_pairs: ', ', ')} has the raw one (correct_answer, "
            "wrong_options); expected one form in all files of a split"
        )
