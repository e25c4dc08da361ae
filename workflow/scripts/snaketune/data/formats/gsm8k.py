"""GSM8K (https://github.com/openai/grade-school-math): word problems with a final number."""

from typing import ClassVar

from snaketune.data.example import Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.formats.values import final_number
from snaketune.data.record import Fields, RecordError, describe


@data_format(task="math")
class Gsm8k(Format):
    """`question`, and `answer` that ends with `#### NUMBER` (kept as it stands, calculator marks
    included); an `id` or `original_id` is the example's id."""

    columns = (("question",), ("answer",))
    shown: ClassVar = {
        "question": "Ada has 3 shells and finds 4 more. How many?",
        "answer": "3 + 4 = <<3+4=7>>7\n#### 7",
    }

    def example(self, fields: Fields) -> Example:
        question, answer = fields.text("question"), fields.text("answer")
        gold = final_number(answer)
        if gold is None:
            raise RecordError(
                "no_final_number",
                "answer",
                describe(answer),
                "an answer that ends with `#### ` and a number",
            )
        return Example(
            id=fields.identifier("id", "original_id"), question=question, answer=answer, gold=gold
        )
