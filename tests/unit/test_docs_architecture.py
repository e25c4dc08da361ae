"""docs/architecture.md says where things are: the paths that it names exist and its counts hold.

    PYTHONPATH=workflow/scripts python tests/unit/test_docs_architecture.py

writes the counts, as tests/unit/test_house.py takes them, into the page.
"""

import re
import sys
from pathlib import Path

import test_house

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
LIBRARY = ROOT / "workflow" / "scripts" / "snaketune"
ELSEWHERE = re.compile(r"(?:workflow|rules|config|docs|tests|profiles|data/demo)/|[A-Z]\w*\.md$")
COUNTS = re.compile(r"(<!-- counts: (?P<command>[^>]*) -->\n)(?P<text>.*?)(<!-- /counts -->)", re.S)
AT_MOST = {"files": 130, "lines": 300, "train": 35, "report": 45}


def counts() -> dict[str, int]:
    lines = (len(file.read_text(encoding="utf-8").splitlines()) for file in test_house.MODULES)
    ways = {step: len(test_house.modules_on_the_way(step)) for step in ("train", "report")}
    return {"files": len(test_house.MODULES), "lines": max(lines), **ways}


def as_text(found: dict[str, int]) -> str:
    rows = [
        ("files in the library", "files"),
        ("lines of the longest", "lines"),
        ("modules that `workflow/scripts/train.py` reaches", "train"),
        ("modules that `workflow/scripts/report.py` reaches", "report"),
    ]
    lines = [f"| {words} | {found[key]:,} | {AT_MOST[key]:,} |" for words, key in rows]
    return "\n".join(["| | | at most |", "| --- | ---: | ---: |", *lines, ""])


def named_paths() -> list[str]:
    """What stands in backticks and is a path of the repository, from its root or the library."""
    text = COUNTS.sub("", PAGE.read_text(encoding="utf-8"))
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    found = re.findall(r"`([\w./-]+)`", text)
    return sorted({path for path in found if ELSEWHERE.match(path) or _of_library(path)})


def _of_library(path: str) -> bool:
    return "/" in path and (LIBRARY / path.partition("/")[0]).is_dir() and path.endswith(".py")


def test_every_path_exists():
    paths = named_paths()
    missing = [p for p in paths if not ((ROOT / p).exists() or (LIBRARY / p).exists())]
    assert len(paths) > 40 and not missing


def test_every_function_named_behind_a_file_stands_in_it():
    text = re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))
    pairs = re.findall(r"`([\w/]+\.py)`: `(\w+)`", text)
    there = {(f, n): (ROOT / f if (ROOT / f).exists() else LIBRARY / f) for f, n in pairs}
    lost = [key for key, file in there.items() if f"def {key[1]}(" not in _classes(file)]
    assert len(pairs) > 10 and not lost


def _classes(file: Path) -> str:
    return re.sub(r"class (\w+)", r"def \1(", file.read_text(encoding="utf-8"))


def test_the_table_of_changes_has_its_rows():
    table = PAGE.read_text(encoding="utf-8").partition("## To change X")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 12
    assert all("`" in row for row in rows)


def test_the_picture_is_there():
    assert "](architecture.svg)" in PAGE.read_text(encoding="utf-8")
    assert (PAGE.parent / "architecture.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_counts_are_those_of_the_library():
    stated = COUNTS.search(PAGE.read_text(encoding="utf-8"))
    assert stated["command"] == "PYTHONPATH=workflow/scripts python tests/unit/test_house.py"
    assert stated["text"] == as_text(counts())


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(COUNTS.sub(lambda m: m[1] + as_text(counts()) + m[4], page), encoding="utf-8")
    sys.stdout.write(as_text(counts()))
