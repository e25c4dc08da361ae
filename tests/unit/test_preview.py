"""Training rows shown before a training: what is marked is what carries loss, and text of others
stays text."""

import html
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from snaketune.data.example import Example
from snaketune.prompts.form import Form
from snaketune.prompts.preview import preview_text, shown_set, write_preview
from snaketune.prompts.rows import IGNORED
from snaketune.prompts.tokenise import SCHEMA, training_row

MODEL = Path(__file__).parents[2] / "data/demo/model"
EVIL = "<script>alert(1)</script>\x1b[31m \u202e{{ 7 * 7 }}"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory):
    import pyarrow as pa

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    questions = ["How many?", EVIL, "What is 2 + 2?", "Who?", "A long one, " * 40, "And?"]
    made = {
        f"r{n}<b>": training_row(tokenizer, example(question), Form("open_qa"))
        for n, question in enumerate(questions)
    }
    file = tmp_path_factory.mktemp("rows") / "train.parquet"
    columns = {
        "id": list(made),
        "input_ids": [row.input_ids for row in made.values()],
        "labels": [row.labels for row in made.values()],
    }
    pq.write_table(pa.table(columns, schema=SCHEMA), file)
    return tokenizer, file, list(made.values())


def example(question: str) -> Example:
    return Example(id="x", question=question, answer=" It is four. ", source="s", record=1)


def test_the_pieces_are_the_row_and_the_marked_ones_carry_loss(rows) -> None:
    tokenizer, file, made = rows
    shown = shown_set(file, tokenizer, ["a"], "m")
    assert shown.of == 6 and [row.id for row in shown.rows] == ["r0<b>", "r1<b>", "r2<b>", "r4<b>"]
    for row, real in zip(shown.rows, [made[0], made[1], made[2], made[4]], strict=True):
        assert "".join(text for text, _ in row.pieces) == tokenizer.decode(real.input_ids)
        learned = tokenizer.decode([label for label in real.labels if label != IGNORED])
        assert "".join(text for text, trained in row.pieces if trained) == learned
        assert (row.tokens, row.trained) == (len(real.input_ids), real.trained_tokens)
        assert "It is four." in learned and "<|im_end|>" in learned


def test_in_the_terminal_marks_or_colours_and_nothing_that_it_obeys(rows) -> None:
    tokenizer, file, _ = rows
    sets = [shown_set(file, tokenizer, ["a", "b"], "m")]
    plain = preview_text(sets, coloured=False)
    assert "a, b on m: 4 of 6 rows" in plain and "⟦It is four." in plain
    assert "\x1b" not in plain and "\u202e" not in plain and "⟨U+001B⟩" in plain
    coloured = preview_text(sets, coloured=True)
    assert set(re.findall(r"\x1b\[[\d;]*m", coloured)) == {"\x1b[32;1m", "\x1b[0m"}


def test_the_page_is_whole_and_its_text_stays_text(rows, tmp_path: Path) -> None:
    tokenizer, file, _ = rows
    sets = [shown_set(file, tokenizer, ["a<i>"], "m")]
    write_preview(tmp_path / "p.html", "mine<u>", sets)
    page = (tmp_path / "p.html").read_text()
    assert "<script" not in page and "<u>" not in page and "<i>" not in page and "<b>" not in page
    assert "default-src &#39;none&#39;" in page and "script-src" not in page
    assert not re.search(r"(src|href)\s*=|https?://|@import|url\(", page), "nothing is loaded"
    assert html.escape("<script>alert(1)</script>") in page and "{{ 7 * 7 }}" in page
    assert "\x1b" not in page and "\u202e" not in page
    assert page.count("<mark>") == 1 + 4
    assert re.search(r"<mark>It is four\.", page)
