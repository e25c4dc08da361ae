"""CSV as every reader takes it, the same bytes each time."""

import csv
from collections.abc import Iterable, Mapping
from typing import Any


class _Rows:
    """Collects the writer's rows. It is given `\\r\\n` as their end, so that it quotes both
    characters in a cell; what is kept ends in `\\n`."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, row: str) -> None:
        self.texts.append(row.removesuffix("\r\n"))


def csv_text(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and a row each. What is None, or not in the row, is an empty cell; numbers keep
    every digit."""
    found = _Rows()
    table = csv.DictWriter(found, list(columns), restval="", lineterminator="\r\n")
    table.writeheader()
    table.writerows(rows)
    return "".join(f"{row}\n" for row in found.texts)
