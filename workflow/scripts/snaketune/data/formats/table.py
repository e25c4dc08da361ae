"""Any table whose columns the config names: questions with options, with open answers, or with a
label."""

import json
from collections.abc import Sequence
from dataclasses import replace

from snaketune.config.dataset import ColumnsSpec
from snaketune.data.example import Example
from snaketune.data.faults import RecordError
from snaketune.data.formats.base import Format
from snaketune.data.formats.choices import LETTERS, checked_options, places
from snaketune.data.formats.classes import checked_label
from snaketune.data.gold import canonical, final_number
from snaketune.data.record import Fields


class NamedColumns(Format):
    """Records read by `columns`. Questions may differ in how many options they have."""

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
        self.columns = tuple((name,) for name in named if name is not None)

    def example(self, fields: Fields) -> Example:
        kept = {name: fields.value.get(name) for name in self.named.keep}
        meta = json.dumps(kept, ensure_ascii=False, default=str)
        return replace(self._answered(fields), meta=meta)

    def _answered(self, fields: Fields) -> Example:
        named = self.named
        question = fields.text(named.question)
        context = fields.optional_text(named.context) if named.context else None
        own_id = fields.identifier(named.id) if named.id else ""
        if named.label is not None:
            label = checked_label(fields, named.label, self.labels)
            return Example(own_id, question, context, answer=label, label=label)
        if named.choices is None:
            return self._open(fields, Example(own_id, question, context))
        where, places, options = self._options(fields)
        texts = checked_options(where, places, options, keep_repeated=self.keep_repeated)
        if len(texts) < 2:
            expected = "at least two options"
            raise RecordError("wrong_options", where, f"{len(texts)} options", expected)
        right = self._right(fields, texts)
        return Example(
            own_id,
            question,
            context,
            answer=texts[right],
            gold=texts[right],
            choices=texts,
            label=LETTERS[right],
        )

    def _open(self, fields: Fields, example: Example) -> Example:
        """An open answer. Where it has to be a number, that is the gold one: all of the answer, or
        what follows its last `####`."""
        name = self.named.answer
        answer = fields.identifier(name) if self.numeric else fields.text(name)
        gold = canonical(answer) or final_number(answer) if self.numeric else answer
        if gold is None:
            expected = "a number, or text that ends with `#### ` and one, as task math needs"
            raise fields.fault("no_number", name, expected)
        return replace(example, answer=answer, gold=gold)

    def _options(self, fields: Fields) -> tuple[str, list[str], list]:
        """The name of the field or fields and the place of each option, for messages, and what
        they hold."""
        names = self.named.choices
        if isinstance(names, list):
            missing = next((n for n in names if n not in fields.value), None)
            if missing is not None:
                raise RecordError("missing", missing, "no such field", "an option")
            return ", ".join(names), names, [fields.value[n] for n in names]
        value = fields.value.get(names)
        if isinstance(value, str):
            value = _from_json(value)
        if not isinstance(value, list):
            raise fields.fault("wrong_options", names, "a list of options")
        return names, places(names, len(value)), value

    def _right(self, fields: Fields, options: list[str]) -> int:
        """The place of the right option."""
        name, letters = self.named.answer, LETTERS[: len(options)]
        answer = fields.identifier(name)
        if self.named.answer_is == "text":
            found = [i for i, option in enumerate(options) if option == answer]
            expected = "the text of one of the options"
        elif self.named.answer_is == "letter":
            found = [letters.index(answer)] if answer and answer in list(letters) else []
            expected = f"a letter among {', '.join(letters)}"
        else:
            first = 1 if self.named.answer_is == "index_from_1" else 0
            found = [i for i in range(len(options)) if answer == str(i + first)]
            expected = f"a number from {first} to {len(options) - 1 + first}"
        if not found:
            raise fields.fault("no_such_option", name, expected)
        return found[0]


def _from_json(text: str) -> object:
    """A list that a CSV holds as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
