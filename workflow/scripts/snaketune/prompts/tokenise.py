"""Prepared examples as training rows on disk, with everything left out listed and counted, and
the rows' lengths, for the choice of a limit.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2.exceptions import TemplateError

from snaketune.config.base import PERPLEXITY
from snaketune.data.example import FEW_SHOT, Example, normalise, read_examples
from snaketune.data.formats.values import canonical_number
from snaketune.prompts.control_tokens import shield
from snaketune.prompts.conversation import join_with_space, template_hash, unprinted_turn
from snaketune.prompts.form import Form, plain_opening, text_tokens
from snaketune.prompts.rows import IGNORED, Row, RowError, build_plain_row, build_row
from snaketune.prompts.wording import MATH
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_json, write_jsonl

SCHEMA = pa.schema(
    [("id", pa.string()), ("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))]
)
OVERLONG, CUT_AWAY = "overlong", "no reply token within the first"
NOT_A_FAULT = (FEW_SHOT, OVERLONG, CUT_AWAY)
"""How reasons begin that the config itself gives for leaving an example out."""


@dataclass(frozen=True)
class RowLimits:
    """What a row may be."""

    max_length: int
    """Tokens."""
    overlong: str
    """`drop`, `truncate` or, for plain text, `split`."""


@dataclass
class RowSplit:
    """One split's rows, and what became of the examples that made none."""

    rows: dict[str, Row] = field(default_factory=dict)
    dropped: list[dict] = field(default_factory=list)
    truncated: int = 0
    further: int = 0
    """Rows that hold what was left of an example when its first row was full."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of every row before the limit had its say."""

    def counts(self) -> dict:
        """in = out + dropped, in examples; truncated ones are among `out`. Further rows, and
        replies that are context only, are mentioned where there are some."""
        reasons = Counter(d["reason"] for d in self.dropped)
        out = len(self.rows) - self.further
        context = sum(row.only_context for row in self.rows.values())
        return {
            "in": out + len(self.dropped),
            "out": out,
            "dropped": dict(sorted(reasons.items())),
            "truncated": self.truncated,
            **({"further_rows": self.further} if self.further else {}),
            **({"replies_only_context": context} if context else {}),
            "tokens": sum(len(row.input_ids) for row in self.rows.values()),
            "trained_tokens": sum(row.trained_tokens for row in self.rows.values()),
        }


def tokenise(
    examples: dict[str, Path],
    shown: Sequence[str],
    tokenizer: Any,
    form: Form,
    limits: RowLimits,
    folder: Path,
) -> None:
    """Writes `{split}.parquet` for every split of `examples`, `stats.json`, `lengths.json` and
    `dropped.jsonl` into `folder`, and prints what was dropped. Examples whose question is among
    `shown`, those of few-shot examples, make no row.
    """
    if form.chat and not tokenizer.chat_template:
        raise UserError("models: found a tokenizer without a chat template, expected one with it")
    if not tokenizer.is_fast:
        raise UserError(
            "models: tokenizer: found one without character offsets, expected a fast one"
        )
    left_out = {normalise(question) for question in shown}

    def row_of(example: Example) -> Row:
        return training_row(tokenizer, example, form)

    splits = {
        name: _split(read_examples(path), name, left_out, row_of, limits)
        for name, path in examples.items()
    }
    if not splits["train"].rows:
        raise UserError(_nothing_left(examples["train"], splits["train"]))
    for name, split in splits.items():
        _write_rows(folder / f"{name}.parquet", split.rows)
    dropped = [d for s in splits.values() for d in s.dropped]
    write_jsonl(folder / "dropped.jsonl", dropped)
    for row in dropped:
        print(
            f"dropped: {row['split']} {row['id']} ({row['source']}, record {row['record']}): "
            f"{row['reason']}"
        )
    # The histogram is for the choice of the limit, so it holds what the limit keeps out too.
    write_json(
        folder / "lengths.json",
        {name: histogram(split.lengths, limits.max_length) for name, split in splits.items()},
    )
    lengths = {name: [len(r.input_ids) for r in s.rows.values()] for name, s in splits.items()}
    stats = {name: split.counts() | quantiles(lengths[name]) for name, split in splits.items()}
    write_json(
        folder / "stats.json",
        {
            "splits": stats,
            "max_length": limits.max_length,
            "overlong": limits.overlong,
            "few_shot": len(shown),
            "template_hash": template_hash(tokenizer),
            "example": _shown_example(tokenizer, splits["train"].rows),
        },
    )


def _split(
    examples: Iterable[Example],
    split: str,
    left_out: set[str],
    row_of: Callable[[Example], Row],
    limits: RowLimits,
) -> RowSplit:
    out, examples = RowSplit(), list(examples)
    mark = _further_mark({example.id for example in examples})
    for example in examples:
        try:
            if left_out & {normalise(example.asked), normalise(example.question)}:
                raise RowError(FEW_SHOT)
            row = row_of(example)
            out.lengths.append(len(row.input_ids))
            parts, long = [row], len(row.input_ids) > limits.max_length
            if long and limits.overlong == "drop":
                raise RowError(OVERLONG)
            if long and limits.overlong == "split":
                parts = split_row(row, limits.max_length)
            elif long:
                parts = [truncate_row(row, limits.max_length)]
                out.truncated += 1
            names = [example.id, *(f"{example.id}{mark}{n}" for n in range(1, len(parts)))]
            out.rows |= dict(zip(names, parts, strict=True))
            out.further += len(parts) - 1
        except (RowError, UserError) as fault:
            where = {"source": example.source, "record": example.record}
            out.dropped.append({"split": split, "id": example.id, "reason": str(fault), **where})
    return out


def _further_mark(ids: set[str]) -> str:
    """What stands between a text's id and the number of a further row of it: `+`, or more of them
    where the data has such an id of its own."""
    mark = "+"
    while any(
        name.rpartition(mark)[0] in ids and name.rpartition(mark)[2].isdigit() for name in ids
    ):
        mark += "+"
    return mark


def training_row(tokenizer: Any, example: Example, form: Form) -> Row:
    """The row of an example with an answer, or of a text; `RowError` says why there is none."""
    if form.task == PERPLEXITY:
        return text_row(tokenizer, example.question)
    if not example.answer:
        raise RowError("no answer to train on")
    reply = trained_reply(example, form)
    if not form.chat:
        before = plain_opening(tokenizer, example, form)
        return build_plain_row(tokenizer, before.whole, shield(tokenizer, reply))
    prefix = form.reply_prefix
    content = join_with_space(prefix, reply.strip()) if prefix else reply
    turns = [*form.turns(example), {"role": "assistant", "content": content}]
    try:
        row = build_row(tokenizer, turns, form, form.learned(example, turns[:-1]))
    except (TemplateError, TypeError, ValueError) as error:
        raise RowError(f"the chat template refuses the conversation: {error}") from error
    if example.history and unprinted_turn(tokenizer.decode(row.input_ids), turns) is not None:
        raise RowError("the chat template leaves out a turn of the conversation")
    return row


def text_row(tokenizer: Any, text: str) -> Row:
    """The row of a text, all of which is learned, with the end token behind it."""
    head, own = text_tokens(tokenizer, text)
    if tokenizer.eos_token_id is None:
        raise RowError("the tokenizer has no end token")
    decoded = tokenizer.decode(own)
    if "".join(decoded.split()) != "".join(text.split()):
        raise RowError(f"the trained tokens decode to {decoded[:80]!r}, not {text[:80]!r}")
    own = [*own, tokenizer.eos_token_id]
    return Row([*head, *own], [IGNORED] * len(head) + own)


def truncate_row(row: Row, max_length: int) -> Row:
    """The row's first `max_length` tokens; `RowError` where nothing to learn is left."""
    short = Row(row.input_ids[:max_length], row.labels[:max_length], row.only_context)
    if not short.trained_tokens:
        raise RowError(f"{CUT_AWAY} {max_length} tokens")
    return short


def split_row(row: Row, max_length: int) -> list[Row]:
    """Rows of at most `max_length` tokens. Each begins with the last token of the one before it, so
    that every token is learned once, behind the one that it follows."""
    starts = range(0, len(row.input_ids) - 1, max_length - 1)
    pieces = [(row.input_ids[i : i + max_length], row.labels[i : i + max_length]) for i in starts]
    return [Row(ids, [IGNORED, *labels[1:]]) for ids, labels in pieces]


def trained_reply(example: Example, form: Form) -> str:
    """The reply to learn: the answer; a bare number in the form that task math's own words ask for,
    where these stand."""
    answer = example.answer or ""
    number = canonical_number(answer)
    own = form.system is None if form.chat else form.prompt == MATH
    asked = form.task == "math" and own
    return f"#### {number}" if asked and number is not None else answer


def _nothing_left(path: Path, split: RowSplit) -> str:
    if not split.dropped:
        return f"{path}: found no training example, expected at least one"
    first = split.dropped[0]
    return (
        f"{path}: no example makes a training row: {split.counts()['dropped']}; the first is "
        f"{first['id']} ({first['source']}, record {first['record']}): {first['reason']}"
    )


def _write_rows(path: Path, rows: dict[str, Row]) -> None:
    columns = {
        "id": list(rows),
        "input_ids": [row.input_ids for row in rows.values()],
        "labels": [row.labels for row in rows.values()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.table(columns, schema=SCHEMA), temporary, compression="zstd")
    temporary.replace(path)


def _shown_example(tokenizer: Any, rows: dict[str, Row]) -> dict:
    """The first row, decoded: what the model reads and what the loss sees of it."""
    name, row = next(iter(rows.items()))
    trained = [label for label in row.labels if label != IGNORED]
    return {
        "id": name,
        "text": tokenizer.decode(row.input_ids),
        "trained": tokenizer.decode(trained),
        "tokens": len(row.input_ids),
        "trained_tokens": len(trained),
    }


_QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99}
_BINS = 40


def quantiles(lengths: Sequence[int]) -> dict:
    """`{"lengths": {min, mean, p05, p50, p95, p99, max}}` in tokens; empty without rows."""
    if not lengths:
        return {"lengths": {}}
    found = {name: float(np.quantile(lengths, q)) for name, q in _QUANTILES.items()}
    ends = {"min": min(lengths), "mean": float(np.mean(lengths)), "max": max(lengths)}
    return {"lengths": ends | found}


def histogram(lengths: Sequence[int], limit: int) -> dict:
    """`{"edges": [n + 1 numbers], "counts": [n numbers], "limit": tokens}`; edges are whole
    numbers of tokens, and a bin holds its left edge."""
    if not lengths:
        return {"edges": [], "counts": [], "limit": limit}
    width = max(1, -(-(max(lengths) - min(lengths) + 1) // _BINS))
    bins = (max(lengths) - min(lengths)) // width + 1
    edges = min(lengths) + width * np.arange(bins + 1)
    counts, _ = np.histogram(lengths, bins=edges)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "limit": limit}
