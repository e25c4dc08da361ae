"""The hash of a step's code changes with what the code says, and with nothing else."""

import os
import time
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from snaketune.runtime.content import cache_root
from snaketune.runtime.errors import UserError
from snaketune.steps.code import Code

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
LOOP = '''"""Trains."""
from snaketune.deep import far


class Loop:
    """A loop."""

    rate: int = 1
    """How fast."""

    def run(self, x):
        raise ValueError("no rows")


def nothing():
    """Does nothing."""
'''
FILES = {
    "train.py": "if True:\n    from snaketune.loop import Loop\n",
    "tokenize_rows.py": "import snaketune.alone\n",
    "snaketune/__init__.py": "",
    "snaketune/loop.py": LOOP,
    "snaketune/deep/__init__.py": "",
    "snaketune/deep/far.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from snaketune import third\n"
    ),
    "snaketune/deep/page.html.j2": "<p>",
    "snaketune/third.py": "x = 1\n",
    "snaketune/alone.py": "x = 1\n",
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("snaketune.steps.code._SETTLED_AFTER", 0)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "scripts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "scripts"


def hashes(scripts: Path) -> dict[str, str]:
    """As a new process finds them."""
    code = Code(scripts)
    return code.hashes(code.scripts)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class Loop", "# a comment\nclass Loop"),
        ("rate: int = 1", "rate: int = 1  # a comment"),
        ('"""Trains."""\n', ""),
        ("A loop.", "Another loop."),
        ("How fast.", "How slow."),
        ('    """Does nothing."""', "    pass"),
        ("\n\n\n", "\n\n\n\n\n"),
        ('raise ValueError("no rows")', "raise ValueError(\n            'no ' 'rows',\n        )"),
        ("\n", "\r\n"),
    ],
)
def test_how_code_is_written_plays_no_part(scripts: Path, old: str, new: str) -> None:
    before = hashes(scripts)
    edit(scripts / "snaketune/loop.py", old, new)
    assert hashes(scripts) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("snaketune/loop.py", "int = 1", "int = 2"),
        ("snaketune/loop.py", "rate: int", "rate: float"),
        ("snaketune/loop.py", "no rows", "no row"),
        ("snaketune/loop.py", "def nothing", "import os\n\n\ndef nothing"),
        ("snaketune/loop.py", "int = 1", "int = None"),
        ("snaketune/loop.py", "raise", "return"),
        ("snaketune/deep/page.html.j2", "<p>", "<p> "),
        ("snaketune/third.py", "x", "y"),
        ("train.py", "True", "False"),
    ],
)
def test_what_code_says_counts_for_the_steps_that_reach_it(
    scripts: Path, file: str, old: str, new: str
) -> None:
    before = hashes(scripts)
    edit(scripts / file, old, new)
    after = hashes(scripts)
    assert after["train"] != before["train"]
    assert after["tokenize"] == before["tokenize"]


def test_a_new_module_counts_where_an_import_named_something_else(scripts: Path) -> None:
    before = hashes(scripts)
    (scripts / "snaketune/loop").mkdir()
    (scripts / "snaketune/loop/__init__.py").write_text("Loop = 1\n")
    assert hashes(scripts)["train"] != before["train"]


def test_every_checkout_is_the_same_code(scripts: Path) -> None:
    before = hashes(scripts)
    os.utime(scripts / "train.py", (1, 1))
    (scripts / "snaketune/__pycache__").mkdir()
    (scripts / "snaketune/__pycache__/left.py").write_text("x = 1")
    assert hashes(scripts.rename(scripts.with_name("moved"))) == before


def test_what_is_no_python_is_told_with_its_line(scripts: Path) -> None:
    (scripts / "snaketune/third.py").write_text("x = 1\nx = (\n")
    with pytest.raises(UserError, match=r"snaketune/third\.py, line 2"):
        hashes(scripts)


@pytest.mark.parametrize("step", sorted(Code(SCRIPTS).scripts))
def test_a_step_covers_every_module_that_its_imports_name(step: str) -> None:
    """Against `modulefinder`, which follows imports by another way (the bytecode)."""
    code = Code(SCRIPTS)
    finder = ModuleFinder(path=[str(SCRIPTS)])
    finder.run_script(str(SCRIPTS / code.scripts[step]))
    reached = {
        str(Path(module.__file__).relative_to(SCRIPTS))
        for name, module in finder.modules.items()
        if name.split(".")[0] == "snaketune" and module.__file__
    }
    assert reached <= code.files_of(step)


def cache_file() -> Path:
    (file,) = (cache_root() / "code").iterdir()
    return file


def test_files_that_did_not_change_are_read_once(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(scripts)
    edit(scripts / "snaketune/loop.py", "int = 1", "int = 2")
    read = []

    def reading(name: str, content: bytes) -> tuple[str, list[str]]:
        read.append(name)
        return "another", ["snaketune.deep.far"]

    monkeypatch.setattr("snaketune.steps.code.read_code", reading)
    assert hashes(scripts)["tokenize"] == before["tokenize"]
    assert read == ["snaketune/loop.py"]


def test_a_file_of_this_moment_is_read_again(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next edit may come within the same tick of the clock."""
    monkeypatch.setattr("snaketune.steps.code._SETTLED_AFTER", 3600 * 10**9)
    hashes(scripts)
    assert not (cache_root() / "code").exists()


def test_an_edit_that_keeps_size_and_time_counts(scripts: Path) -> None:
    before, file = hashes(scripts), scripts / "snaketune/third.py"
    found = file.stat()
    time.sleep(0.02)
    file.write_text("x = 2\n")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert hashes(scripts)["train"] != before["train"]


@pytest.mark.parametrize("damage", ["cut", "altered", "nothing", "bytes", "folder"])
def test_a_damaged_cache_only_costs_time(scripts: Path, damage: str) -> None:
    before = hashes(scripts)
    file = cache_file()
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    else:
        altered = content.replace(b"snaketune.loop", b"snaketune.looq")
        some = {"cut": content[:-40], "altered": altered, "nothing": b"", "bytes": b"\xff\n\xff"}
        file.write_bytes(some[damage])
    assert hashes(scripts) == before


@pytest.mark.parametrize("place", ["/dev/null/cache", "/proc/cache"])
def test_a_cache_that_can_not_be_written_only_costs_time(
    scripts: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(scripts)
    monkeypatch.setenv("SNAKETUNE_CACHE", place)
    assert hashes(scripts) == before
