"""Training rows as the model reads them, with the tokens that carry loss marked, before anything is
trained: for the terminal, and as a page that needs no network.

Rows hold text of others: on the page every value is escaped and nothing may run or be loaded, and
in both what is unseen is spelled out, so that a terminal obeys nothing in it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from snaketune.prompts.rows import IGNORED
from snaketune.runtime.errors import in_terminal, visible
from snaketune.runtime.files import write_text

_TEMPLATES = Path(__file__).parent.parent / "report"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_FIRST = 3
_MOST_CHARACTERS = 1500
"""Of a piece in the terminal; the page has all."""


@dataclass(frozen=True)
class ShownRow:
    """A row, in pieces that are trained or only read."""

    id: str
    pieces: list[tuple[str, bool]]
    tokens: int
    trained: int


@dataclass(frozen=True)
class ShownSet:
    """Some rows that runs learn from."""

    runs: Sequence[str]
    model: str
    of: int
    """How many rows there are."""
    rows: list[ShownRow]


def shown_set(file: Path, tokenizer: Any, runs: Sequence[str], model: str) -> ShownSet:
    """The first rows of a token set's file, and its longest."""
    table = pq.read_table(file)
    lengths = [len(ids) for ids in table["input_ids"].to_pylist()]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    places = dict.fromkeys([*range(min(_FIRST, len(lengths))), longest])
    rows = [_shown(tokenizer, row) for row in table.take(list(places)).to_pylist()]
    return ShownSet(runs, model, len(lengths), rows)


def _shown(tokenizer: Any, row: dict[str, Any]) -> ShownRow:
    ids, labels = row["input_ids"], row["labels"]
    pieces, start = [], 0
    for trained, group in groupby(labels, lambda label: label != IGNORED):
        end = start + len(list(group))
        pieces.append((_text_between(tokenizer, ids, start, end), trained))
        start = end
    return ShownRow(row["id"], pieces, len(ids), sum(label != IGNORED for label in labels))


def _text_between(tokenizer: Any, ids: list[int], start: int, end: int) -> str:
    """By itself a piece may lose the blank that it begins with."""
    before, whole = (
        tokenizer.decode(ids[:n], clean_up_tokenization_spaces=False) for n in (start, end)
    )
    if whole.startswith(before):
        return whole[len(before) :]
    return tokenizer.decode(ids[start:end], clean_up_tokenization_spaces=False)


def preview_text(sets: Sequence[ShownSet], coloured: bool) -> str:
    """For the terminal; without colours trained pieces stand between ⟦ and ⟧."""
    mark = (lambda text: f"\033[32;1m{text}\033[0m") if coloured else (lambda text: f"⟦{text}⟧")
    return "\n".join(line for shown in sets for line in _set_lines(shown, mark))


def _set_lines(shown: ShownSet, mark: Callable[[str], str]) -> Iterator[str]:
    rows = f"{len(shown.rows)} of {shown.of:,} rows" if len(shown.rows) < shown.of else "all rows"
    yield f"== {', '.join(shown.runs)} on {shown.model}: {rows}; trained tokens are marked"
    for row in shown.rows:
        yield f"-- row {in_terminal(row.id)}: {row.tokens:,} tokens, {row.trained:,} trained"
        yield "".join(
            mark(_cut(in_terminal(text))) if trained else _cut(in_terminal(text))
            for text, trained in row.pieces
        )
        yield ""


def _cut(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"


def write_preview(file: Path, experiment: str, sets: Sequence[ShownSet]) -> None:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    page = environment.get_template("preview.html.j2")
    write_text(file, page.render(style=style, policy=_POLICY, experiment=experiment, sets=sets))
