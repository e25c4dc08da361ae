"""GSM-Symbolic (https://github.com/apple/ml-gsm-symbolic): GSM8K's problems as templates."""

import json
from typing import ClassVar

from snaketune.data.example import Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.formats.values import canonical_number, final_number
from snaketune.data.record import Fields, RecordError, describe

_KEPT = ("original_id", "instance", "id")


@data_format(task="math")
class GsmSymbolic(Format):
    """`question`, and `answer` that ends with `#### NUMBER`; a `final_answer` must be the same
    number. The reply to train on is the solution, then `Final answer: NUMBER.` on a line.

    Rows that share a template are not independent: `original_id` and `instance` are kept.
    """

    columns = (("question",), ("answer",))
    shown: ClassVar = {
        "original_id": 12,
        "instance": 3,
        "question": "Ada has 3 shells and finds 4 more. How many?",
        "answer": "3 + 4 = 7\n#### 7",
        "final_answer": "7",
    }

    def example(self, fields: Fields) -> Example:
        answer = fields.text("answer")
        gold = final_number(answer)
        if gold is None:
            expected = "an answer that ends with `#### ` and a number"
            raise RecordError("no_final_number", "answer", describe(answer), expected)
        _require_same(fields, gold)
        solution = answer.rpartition("####")[0].strip()
        kept = {name: fields.value[name] for name in _KEPT if fields.value.get(name) is not None}
        return Example(
            id=_own_id(fields),
            question=fields.text("question"),
            answer=f"{solution}\nFinal answer: {gold}.",
            gold=gold,
            meta=json.dumps(kept, ensure_ascii=False),
        )


def _require_same(fields: Fields, gold: str) -> None:
    found = fields.value.get("final_answer")
    if found is not None and canonical_number(str(found)) != gold:
        expected = f"{gold}, the number that the answer ends with"
        raise fields.fault("answers_differ", "final_answer", expected)


def _own_id(fields: Fields) -> str:
    """`id` names a template where there are instances of it."""
    name = fields.identifier("id", "original_id")
    instance = fields.identifier("instance")
    return f"{name}-{instance}" if name and instance else name
