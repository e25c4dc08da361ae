"""Prepared examples: one schema for all tasks, kept as Parquet, how they are compared and sampled.

Light until a file is read or written: every adapter of a format imports this.
"""

import dataclasses
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from snaketune.config.dataset import SampleSpec
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import csv_text, write_jsonl, write_text

ORIGINAL = "original_question"
"""The key in `meta` of the wording that a question was rephrased from."""

GROUP = "group"
"""The key in `meta` of what an example shares with others, by the dataset's `group`."""
GOLDS = "golds"
"""The key in `meta` of further right answers."""
HISTORY, WEIGHT = "history", "weight"
"""The keys in `meta` of the turns before the question, each with `role`, `content` and, where it is
given, `weight`; and of the weight of the answer."""
FEW_SHOT = "few-shot example"
"""Why an example is left out of training by the config's own word."""


@dataclass(frozen=True)
class Example:
    """One prepared example.

    A format leaves `id` empty where the source has none, and `source` and `record` unset: the
    caller fills them.
    """

    id: str
    """Unique within the split."""
    question: str
    context: str | None = None
    answer: str | None = None
    """The reply to train on."""
    gold: str | None = None
    """The final answer in one spelling; math: a decimal."""
    choices: list[str] | None = None
    label: str | None = None
    meta: str = "{}"
    """A JSON object: hazard, persona, ids of the source, whatever only some formats have."""
    source: str = ""
    """File name or hub id, never an absolute path."""
    record: int = 0
    """Line or record in the source, from 1."""

    @property
    def original(self) -> str | None:
        """The question that this one was rephrased from, with the context, where a format knows
        it."""
        question = json.loads(self.meta).get(ORIGINAL)
        return None if question is None else _joined(question, self.context)

    @property
    def prompt(self) -> str:
        """Question and context: what a model is shown as the last turn."""
        return _joined(self.question, self.context)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The turns before the question, of a conversation that has some."""
        # Most examples have none, and every row is asked.
        return json.loads(self.meta).get(HISTORY, []) if f'"{HISTORY}"' in self.meta else []

    @property
    def weight(self) -> int | None:
        """That of the answer among the turns of a conversation; None: not given."""
        return json.loads(self.meta).get(WEIGHT)

    @property
    def asked(self) -> str:
        """All that a model is shown, as one text: what makes two examples the same."""
        before = [f"{turn['role']}: {turn['content']}" for turn in self.history]
        return "\n\n".join([*before, f"user: {self.prompt}"]) if before else self.prompt


COLUMNS = tuple(field.name for field in dataclasses.fields(Example))
_ALWAYS = {"id", "question", "meta", "source", "record"}
"""Columns that are never null."""


def _joined(question: str, context: str | None) -> str:
    return question if context is None else f"{question}\n\n{context}"


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Writes `examples` to a Parquet file, whole or not at all; equal examples, equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"choices": pa.list_(pa.string()), "record": pa.int64()}
    schema = pa.schema(
        [
            pa.field(name, kinds.get(name, pa.string()), nullable=name not in _ALWAYS)
            for name in COLUMNS
        ]
    )
    columns = {
        name: pa.array([getattr(e, name) for e in examples], schema.field(name).type)
        for name in COLUMNS
    }
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd")
    temporary.replace(path)


def write_readable(stem: Path, examples: Sequence[Example]) -> None:
    """The same examples for people and other tools: `{stem}.jsonl`, and `{stem}.csv` with options
    as JSON."""
    rows = [vars(example) for example in examples]
    write_jsonl(stem.with_name(f"{stem.name}.jsonl"), rows)
    flat = (
        row | {"choices": row["choices"] and json.dumps(row["choices"], ensure_ascii=False)}
        for row in rows
    )
    write_text(stem.with_name(f"{stem.name}.csv"), csv_text(COLUMNS, flat))


def read_examples(path: Path) -> list[Example]:
    """The examples of a file that `write_examples` wrote, in order."""
    from snaketune.runtime.files import read_table

    rows = read_table(path, sorted(COLUMNS)).to_pylist()
    return [Example(**row) for row in rows]


T = TypeVar("T")


def read_sample(path: Path, sample: dict[str, Any] | None) -> list[Example]:
    """The prepared examples in a file that an eval with this `sample` asks. Raises `UserError`
    where there are none."""
    spec = SampleSpec.model_validate(sample) if sample else None
    asked = take_sample(read_examples(path), spec)
    if not asked:
        raise UserError(f"{path}: found no examples to ask, expected at least one")
    return asked


def take_sample(examples: Sequence[T], sample: SampleSpec | None) -> list[T]:
    """The subset that `sample` names, in its own order; all of them without a sample.

    The first n of `numpy.random.default_rng(seed).permutation(N)`, n = `int(fraction * N)` or
    `count`; at least one and at most N.
    """
    if sample is None:
        return list(examples)
    import numpy as np

    total = len(examples)
    # A sample has either of them.
    asked = int(sample.fraction * total) if sample.fraction is not None else sample.count or 0
    order = np.random.default_rng(sample.seed).permutation(total)
    return [examples[int(i)] for i in order[: max(1, asked)]]


_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "−": "-"})


def normalise(text: str) -> str:
    """Case, white space and typographic variants folded: equal results mean the same text.

    Punctuation and signs stay, since `3 + 4` and `3 - 4` are different questions.
    """
    folded = unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold()
    return " ".join(folded.split())
