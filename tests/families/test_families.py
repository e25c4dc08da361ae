"""Today's families through training, replies, options and merging, each held against plain
transformers and PEFT; the table in docs/models.md is what was found.

`make test-families` runs them all, and fails where the table says something else; with
`FAMILIES_TABLE=write` it writes it anew. `tests/unit/test_families_quick.py` runs a few.
"""

import os
from pathlib import Path

import pytest
from families import FAMILIES
from journey import METHODS, Journey

from snaketune.runtime.errors import UserError

DOCUMENT = Path(__file__).parents[2] / "docs/models.md"
BEGIN, END = "<!-- families: make test-families -->", "<!-- /families -->"
FOUND: dict[str, dict[str, str]] = {}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_right_or_refused_in_a_line(name, method, tmp_path):
    journey = Journey(name, method, tmp_path)
    try:
        journey.run()
        said = "right"
        FOUND.setdefault(name, {})["replies"] = journey.session.describe()["engine"]
    except UserError as refused:
        said = str(refused).replace(str(journey.base), name)
        assert "\n" not in said
        assert "expected" in said
    FOUND.setdefault(name, {})[method] = said


# 16 MB and more: NF4 weights are kept, and merging has to come back from them.
@pytest.mark.parametrize("name", ["Qwen3", "Mixtral", "Gemma 3", "GPT-2"])
def test_a_large_one(name, tmp_path):
    wide = {"hidden_size": 512, "intermediate_size": 4096}
    if name == "GPT-2":
        wide = {"hidden_size": 512, "n_embd": 512}
    Journey(name, "qlora", tmp_path, {**wide, "initializer_range": 0.03}).run()
    assert list((tmp_path / "cache" / "nf4").iterdir())


def table() -> str:
    """What was found, a family a line."""
    lines = ["| family | lora | qlora | full | replies |", "| --- | --- | --- | --- | --- |"]
    for name, found in FOUND.items():
        cells = [found[method] for method in METHODS] + [found.get("replies", "")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_table_says_what_was_found():
    if set(FOUND) != set(FAMILIES):
        pytest.skip("not all families were run")
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    written, _, after = rest.partition(END)
    if os.environ.get("FAMILIES_TABLE") == "write":
        text = f"{before}{BEGIN}\n{table()}\n{END}{after}"
        DOCUMENT.write_text(text, encoding="utf-8")
    else:
        assert written.strip() == table()
