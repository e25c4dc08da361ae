"""What identifies a step changes with what it does, and with nothing else."""

import os
from pathlib import Path

import pytest

from snaketune import identity
from snaketune.identity import code_hash, digest, folder_fingerprint

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


@pytest.fixture(autouse=True)
def _fresh_caches() -> None:
    """As every Snakemake process starts."""
    for cached in (identity._content, identity._imports, identity.folder_fingerprint):
        cached.cache_clear()


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    package = tmp_path / "snaketune"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep/__init__.py").write_text("")
    (package / "deep/page.html").write_text("<p>")
    (package / "deep/a.py").write_text("def f():\n    from snaketune import b\n")
    (package / "b.py").write_text("x = 1\n")
    (package / "c.py").write_text("x = 1\n")
    (tmp_path / "one.py").write_text("if True:\n    from snaketune.deep import a\n")
    (tmp_path / "two.py").write_text("from snaketune.c import x\n")
    return tmp_path


def hashes(scripts: Path) -> tuple[str, str]:
    _clear()
    return code_hash(scripts / "one.py"), code_hash(scripts / "two.py")


def _clear() -> None:
    identity._content.cache_clear()
    identity._imports.cache_clear()


@pytest.mark.parametrize(
    ("edited", "one_changes", "two_changes"),
    [
        ("snaketune/b.py", True, False),
        ("snaketune/c.py", False, True),
        ("snaketune/deep/a.py", True, False),
        ("snaketune/deep/page.html", True, False),
        ("snaketune/__init__.py", True, True),
        ("one.py", True, False),
    ],
)
def test_exactly_the_importers_change(
    scripts: Path, edited: str, one_changes: bool, two_changes: bool
) -> None:
    before = hashes(scripts)
    (scripts / edited).write_text((scripts / edited).read_text() + "\n# edited\n")
    after = hashes(scripts)
    assert (before[0] != after[0], before[1] != after[1]) == (one_changes, two_changes)


def test_times_and_places_play_no_part(scripts: Path, tmp_path: Path) -> None:
    before = hashes(scripts)
    os.utime(scripts / "snaketune/b.py", (1, 1))
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    scripts.rename(moved)
    assert hashes(moved) == before


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda s: s.stem)
def test_the_hash_covers_every_module_that_the_imports_name(script: Path) -> None:
    """Against `modulefinder`, which follows imports by another way (the bytecode)."""
    from modulefinder import ModuleFinder

    finder = ModuleFinder(path=[str(SCRIPTS)])
    finder.run_script(str(script))
    reached = {
        Path(module.__file__)
        for name, module in finder.modules.items()
        if name.split(".")[0] == "snaketune" and module.__file__
    }
    files, open_ends = {script}, [script]
    while open_ends:
        found = {f for f in identity._imports(open_ends.pop(), SCRIPTS) if f not in files}
        files |= found
        open_ends += found
    assert reached <= files


def test_a_digest_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})


def test_a_models_fingerprint_follows_its_content(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(os.urandom(3_000_000))
    before = folder_fingerprint(str(tmp_path))
    os.utime(weights, (1, 1))
    folder_fingerprint.cache_clear()
    assert folder_fingerprint(str(tmp_path)) == before
    weights.write_bytes(os.urandom(3_000_000))
    folder_fingerprint.cache_clear()
    assert folder_fingerprint(str(tmp_path)) != before
