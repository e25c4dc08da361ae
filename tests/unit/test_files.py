"""Tables as text: every reader gets every cell back, formulas behind a mark."""

import csv
import io

import pandas as pd

from snaketune.runtime.errors import in_cell
from snaketune.runtime.files import csv_text

CELLS = ["a\rb", "a\nb", "a\r\nb", 'say "x", y', "\r", "\r\n", " plain ", "é", "=1+1"]


def test_any_text_comes_back_and_rows_end_alike():
    text = csv_text(["n", "cell"], [{"n": i, "cell": cell} for i, cell in enumerate(CELLS)])
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["n"], row["cell"]) for row in rows] == [
        (str(i), in_cell(cell)) for i, cell in enumerate(CELLS)
    ]
    assert list(pd.read_csv(io.StringIO(text, newline=""))["cell"]) == list(map(in_cell, CELLS))
    assert text.startswith("n,cell\n") and "\n6, plain \n" in text


def test_what_is_missing_is_an_empty_cell_and_numbers_keep_every_digit():
    text = csv_text(["a", "b", "c"], [{"a": None, "c": 0.1 + 0.2}])
    assert text == "a,b,c\n,,0.30000000000000004\n"
