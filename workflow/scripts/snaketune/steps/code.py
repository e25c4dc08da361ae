"""The code of each step: its script and every library module that the script reaches."""

import os
from collections.abc import Iterable
from pathlib import Path

from snaketune.runtime.content import digest
from snaketune.steps.reading import FileState, Memory, Reading, file_state, read_code

_PAGES = (".html", ".css", ".j2")
# The standard library has a module `tokenize`, which a script of that name would hide.
_NAMES = {"tokenize_rows": "tokenize"}


class Code:
    """The scripts in a folder and the library under it, as they are when this is made.

    A step is a script, named by its stem. Files are named relative to the folder, so that every
    checkout is the same code.
    """

    def __init__(self, scripts: Path) -> None:
        self._folder = scripts
        self._states = _states(scripts)
        self._memory = Memory(scripts)
        self._imports: dict[str, set[str]] = {}
        self._pages: dict[str, list[str]] = {}
        for file in self._states:
            if file.endswith(_PAGES):
                self._pages.setdefault(file.rpartition("/")[0], []).append(file)
        stems = (f[:-3] for f in self._states if "/" not in f and f.endswith(".py"))
        self.scripts = {_NAMES.get(stem, stem): f"{stem}.py" for stem in sorted(stems)}

    def hashes(self, steps: Iterable[str]) -> dict[str, str]:
        """12 hex digits a step; the same whenever its files say the same."""
        found = {
            step: digest({file: self._read(file)[0] for file in self.files_of(step)})
            for step in steps
        }
        self._memory.save()
        return found

    def files_of(self, step: str) -> set[str]:
        """The step's script and what it imports, at any depth."""
        files = {self.scripts[step]}
        open_ends = [self.scripts[step]]
        while open_ends:
            found = self._imported_by(open_ends.pop()) - files
            files |= found
            open_ends += found
        return files

    def _imported_by(self, file: str) -> set[str]:
        if file not in self._imports:
            names = self._read(file)[1]
            self._imports[file] = {f for name in names for f in self._files(name)}
        return self._imports[file]

    def _files(self, module: str) -> list[str]:
        """The module's file and those of the packages around it, which Python runs first. Page
        templates and style sheets beside a package's modules are part of what it does."""
        parts = module.split(".")
        folders = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        modules = [f"{folder}/__init__.py" for folder in folders] + [f"{folders[-1]}.py"]
        if parts[-1] == "*":
            folder = folders[-2]
            modules += [f for f in self._states if f.rpartition("/")[0] == folder]
        pages = [page for folder in folders for page in self._pages.get(folder, ())]
        return [f for f in modules if f in self._states and f.endswith(".py")] + pages

    def _read(self, file: str) -> Reading:
        reading = self._memory.get(file, self._states[file])
        if reading is None:
            reading = read_code(file, (self._folder / file).read_bytes())
            self._memory.put(file, self._states[file], reading)
        return reading


def _states(scripts: Path) -> dict[str, FileState]:
    states: dict[str, FileState] = {}
    for folder, inner, names in os.walk(scripts):
        inner[:] = [name for name in inner if name[0] != "." and name != "__pycache__"]
        prefix = folder[len(str(scripts)) + 1 :].replace(os.sep, "/")
        for name in names:
            if name.endswith((".py", *_PAGES)) and not name.startswith("."):
                file = f"{prefix}/{name}" if prefix else name
                states[file] = file_state(scripts / file)
    return states
