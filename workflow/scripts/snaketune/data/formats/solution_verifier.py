"""Solutions of math problems, each right or flawed."""

import json
from collections.abc import Sequence
from typing import ClassVar, Self

from snaketune.config.dataset import DatasetSpec
from snaketune.data.example import Example
from snaketune.data.formats.base import Format, data_format
from snaketune.data.formats.values import checked_label
from snaketune.data.record import Fields, RecordError, fields_found


@data_format(task="classification")
class SolutionVerifier(Format):
    """`index`, `question`, `solution` and `label`, a whole number or text among the dataset's
    labels.

    A problem has several solutions, so that `index` and `label` together name a record.
    """

    columns = (("index",), ("question",), ("solution",), ("label",))
    settings: ClassVar = {"labels": ["0", "1"]}
    shown: ClassVar = {
        "index": 7,
        "question": "What is 3 + 4?",
        "solution": "3 + 4 = 8",
        "label": 1,
    }

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels

    @classmethod
    def from_spec(cls, spec: DatasetSpec, numeric: bool) -> Self:
        return cls(spec.labels)

    def example(self, fields: Fields) -> Example:
        index = fields.identifier("index")
        if not index:
            found = fields_found(list(fields.value))
            raise RecordError("missing", "index", found, "text or a whole number")
        label = checked_label(fields, "label", self.labels)
        return Example(
            id=f"{index}-{label}",
            question=fields.text("question"),
            context=fields.text("solution"),
            answer=label,
            label=label,
            meta=json.dumps({"index": fields.value["index"]}, ensure_ascii=False),
        )
