"""docs/troubleshooting.md names messages as they are: each stands in the code that says it."""

import re
from pathlib import Path

import pytest
import snakemake

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = [found for line in PAGE.splitlines() for found in re.findall(r"^\| `([^`]+)` \|", line)]


def _text(files: list[Path]) -> str:
    """The files' text, with strings that go on in a next line made one."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r'"\s*\n\s*f?r?"', "", text)


@pytest.fixture(scope="module")
def said() -> str:
    own = [ROOT / "Snakefile", *(ROOT / "workflow/scripts").rglob("*.py")]
    theirs = Path(snakemake.__file__).parent
    files = ["persistence/__init__.py", "persistence/file.py", "exceptions.py", "cli.py", "api.py"]
    files.append("common/configfile.py")
    return _text([*own, *(theirs / f for f in files if (theirs / f).is_file())])


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 20


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_that_is_said(message: str, said: str) -> None:
    """Apart from names and numbers, in whose place stand … and capital letters."""
    parts = [part.strip() for part in re.split(r"…|\b[NM]\b|wandb|SIGTERM", message)]
    missing = [part for part in parts if len(part) > 3 and part not in said]
    assert not missing
