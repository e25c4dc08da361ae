"""What an edit of a finished experiment is, and what is expected of the start after it."""

import copy
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from project_copy import Project
from stale.dag import Dag
from stale.experiment import Config


class _Gone:
    def __repr__(self) -> str:
        return "gone"


GONE = _Gone()
"""In the place of a value: the key is taken away."""


class Files:
    """Changes files of a project and can take it all back, file times included."""

    def __init__(self, project: Project) -> None:
        self.folder = project.folder
        self._undo = ExitStack()

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Another text in a file."""
        self.replace(name, lambda content: change(content.decode()).encode())

    def replace(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Other bytes in a file."""
        before = (self.folder / name).read_bytes()
        after = change(before)
        assert after != before, f"{name}: the edit changes nothing"
        self._keep(name)
        (self.folder / name).write_bytes(after)

    def touch(self, name: str) -> None:
        """The same bytes, written now."""
        self._keep(name)
        (self.folder / name).touch()

    def new(self, name: str, text: str) -> None:
        """Another file."""
        (self.folder / name).write_text(text)
        self._undo.callback((self.folder / name).unlink)

    def copy(self, name: str, other: str) -> None:
        """A file or folder under another name, too."""
        source, target = self.folder / name, self.folder / other
        if source.is_dir():
            shutil.copytree(source, target)
            self._undo.callback(shutil.rmtree, target)
        else:
            shutil.copyfile(source, target)
            self._undo.callback(target.unlink)

    def _keep(self, name: str) -> None:
        file = self.folder / name
        content, times = file.read_bytes(), file.stat()
        self._undo.callback(os.utime, file, ns=(times.st_atime_ns, times.st_mtime_ns))
        self._undo.callback(file.write_bytes, content)

    def take_back(self) -> None:
        """As it was."""
        self._undo.close()


Do = Callable[[Files], None]


@dataclass(frozen=True)
class Edit:
    """One change of a config, of data, of a model or of code."""

    name: str
    expected: str = ""
    """Jobs that must run, as patterns, for a reason of their own. What follows from them runs, too,
    and nothing else. Empty: nothing runs."""
    keys: tuple[tuple[str, Any], ...] = ()
    """Values by the key's path in the config."""
    do: Do | None = None
    """What it does to files."""
    file: str = ""
    """The file or folder that it edits or copies."""
    adds: str = ""
    """Jobs, and what they read, that are there after it."""
    removes: str = ""
    """Jobs, as patterns, that are no longer part of the experiment."""
    refused: str = ""
    """Words of the fault that the start ends with."""
    alone: bool = False
    """Rearranges so much that what it means beside other edits is not written down."""

    def paths(self) -> list[str]:
        """What it touches, to keep edits of the same thing apart."""
        keys = [path.replace(".", "/") for path, _ in self.keys]
        return keys + ([f"file/{self.file}"] if self.file else [])


def config_after(config: Config, edits: Iterable[Edit]) -> Config:
    """The config with the edits' values. What they say of runs, presets and evals that it does not
    have is left out: it may be of a part of the experiment."""
    known = {section: set(config[section]) for section in ("runs", "presets", "evals")}
    config = copy.deepcopy(config)
    for path, value in (pair for edit in edits for pair in edit.keys):
        *sections, last = path.split(".")
        if len(sections) > 1 and sections[1] not in known.get(sections[0], {sections[1]}):
            continue
        node = config
        for section in sections:
            node = node.setdefault(section, {})
        if value is GONE:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    for run in config["runs"].values():
        changes = run.get("evals", {})
        run["evals"] = {name: change for name, change in changes.items() if name in config["evals"]}
    return config


def expected_after(
    config: Config,
    new: Iterable[Edit],
    before: Iterable[Edit] = (),
    dry: bool = False,
    undone: Iterable[Edit] = (),
) -> set[str]:
    """The jobs that must run after `new` edits of an experiment that was finished with this config,
    the edits `before` and those `undone` with the new ones; no others may."""
    new = list(new)
    edits = [*before, *new]
    adds = "\n".join(edit.adds for edit in edits)
    removes = [pattern for edit in edits for pattern in edit.removes.split()]
    roots = [root for edit in (*new, *undone) for root in edit.expected.split()]
    return Dag.of(config_after(config, edits), adds, removes).after(roots, dry)


def apart(edits: Iterable[Edit]) -> bool:
    """Whether no two of these edits touch the same key, or one within the other."""
    paths = [(n, *path.split("/")) for n, edit in enumerate(edits) for path in edit.paths()]
    return not any(
        a[0] != b[0] and a[1 : min(len(a), len(b))] == b[1 : min(len(a), len(b))]
        for a in paths
        for b in paths
    )
