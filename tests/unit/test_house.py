"""The house that a reader lives in: how many rooms it has, how large they are, and that a name
stands for one thing. The numbers stand in docs/architecture.md."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from snaketune.steps.code import Code

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
LIBRARY = SCRIPTS / "snaketune"
MODULES = [file for file in LIBRARY.rglob("*.py") if file.name != "__init__.py"]


def modules_on_the_way(step):
    """Library modules that a step's script reaches at any depth: all imports, wherever they stand,
    and all that a registry loads; `__init__` files and the scripts themselves not counted."""
    files = Code(SCRIPTS).files_of(step)
    return sorted(
        file
        for file in files
        if file.startswith("snaketune/") and file.endswith(".py") and "__init__" not in file
    )


def test_the_library_has_no_more_files():
    """Fewer, fuller ones are the aim: about 130. A registry has a file a thing, however short. The
    verdict in words has five: what is known, what is said of it, the gate, origins, exports;
    the report's examples one; padded batches one, and what presets can't train of a model one.
    Conversations and text have one each among the formats, perplexity one among the tasks: a
    registry finds them by their files. Mixtures have one. Files as they come have four: text,
    folders, guesses, drafts, of which none fits into a file that was there. What is seen before and
    during a run has five (overview, forecast, preview, the listing and its lines), and a start that
    is stopped or killed one; draws of splits and the kinds of columns one each; a chat, the loop of
    a training and the counts of the whole chain, too. Exports for llama.cpp have three: weights,
    vocabulary, and what answers, which a registry finds by its file."""
    assert len(MODULES) <= 180


def test_no_file_has_more_than_300_lines():
    long = {
        str(file.relative_to(LIBRARY)): lines
        for file in MODULES
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 300
    }
    assert not long


def test_nothing_lies_loose_at_the_top_of_the_library():
    assert not [file.name for file in MODULES if file.parent == LIBRARY]


def test_a_package_says_in_a_line_what_it_is_for():
    """Its `__init__.py` holds a docstring, and nothing else but what a registry needs."""
    silent = [
        str(file.relative_to(LIBRARY))
        for file in LIBRARY.rglob("__init__.py")
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_no_class_name_stands_twice():
    names = Counter(
        node.name
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert not {name: count for name, count in names.items() if count > 1}


def test_no_public_function_has_two_homes():
    """Methods are the interface of a registry; `main` is what runs a module."""
    names = Counter(
        node.name
        for file in MODULES
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_" and node.name != "main"
    )
    assert not {name: count for name, count in names.items() if count > 1}


def test_no_file_name_stands_three_times():
    names = Counter(file.name for file in MODULES)
    assert not {name: count for name, count in names.items() if count > 2}


@pytest.mark.parametrize(("step", "most"), [("train", 35), ("report", 45)])
def test_the_way_of_a_script_through_the_library_is_short(step, most):
    found = modules_on_the_way(step)
    assert len(found) <= most, "\n".join(found)


if __name__ == "__main__":  # the command in docs/architecture.md
    print(f"{len(MODULES)} modules")
    for step in ("train", "report"):
        print(f"{step}.py reaches {len(modules_on_the_way(step))}")
