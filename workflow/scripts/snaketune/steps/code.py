"""The code of each step: its script and every library module that the script reaches, by what a
file says apart from how it is written, with a memory of what was read.
"""

import ast
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from snaketune.runtime.content import cache_root, digest
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_text

_PACKAGE = "snaketune"


def read_code(name: str, content: bytes) -> tuple[str, list[str]]:
    """12 hex digits of what a file says, and the names under `snaketune` that it imports.

    Python counts without comments, docstrings and layout; page templates, style sheets and page
    scripts count by their bytes. Annotations do count: what pydantic and dataclasses do follows
    from them.
    """
    if not name.endswith(".py"):
        return _short_hash(content), []
    try:
        tree = ast.parse(content, name)
    except SyntaxError as error:
        raise UserError(f"{name}, line {error.lineno}: this is no Python: {error.msg}") from None
    parts: list[str] = []
    _write(tree, parts)
    return _short_hash("".join(parts).encode()), sorted(_imported(tree))


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _write(value: object, parts: list[str]) -> None:
    """Like `ast.dump`, whose text differs between versions of Python: an empty field is left out,
    so that one which a later Python added plays no part."""
    if isinstance(value, ast.AST):
        parts.append(f"{type(value).__name__}(")
        for field in value._fields:
            inner = getattr(value, field, None)
            if inner is not None and inner != []:
                parts.append(f"{field}=")
                _write(inner, parts)
        parts.append(")")
    elif isinstance(value, list):
        parts.append("[")
        for item in value:
            if not _does_nothing(item):
                _write(item, parts)
        parts.append("]")
    else:
        # Which characters `repr` prints as they are depends on Python's Unicode tables.
        parts.append(ascii(value) + ",")


def _does_nothing(node: object) -> bool:
    """Docstrings, those of attributes among them, and the `pass` that stands for an empty body."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


def _imported(tree: ast.AST) -> set[str]:
    """Wherever the import stands; under `if TYPE_CHECKING`, too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import name`: the name may be a module of the package.
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) == "import_module":
            # A registry: `import_module(f"snaketune.folder.{name}")` may be any file of the folder.
            text = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                names.add(text.value + "*")
    return {name for name in names if name == _PACKAGE or name.startswith(f"{_PACKAGE}.")}


# A file that changes again within one tick of its file system's clock looks the same.
_SETTLED_AFTER = 2_000_000_000  # nanoseconds

FileState = list[int]
Reading = tuple[str, list[str]]


def file_state(path: Path) -> FileState:
    """Changes whenever the file's content does."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


class Memory:
    """Readings of the files under one folder, by name and state. A cache that is damaged, made by
    other code or can't be written only costs time."""

    def __init__(self, folder: Path) -> None:
        self._began = time.time_ns()
        self._new = False
        self._path: Path | None = None
        self._kept: dict[str, tuple[FileState, Reading]] = {}
        # There may be no home folder, nor a right to read what lies in it.
        with suppress(OSError, RuntimeError):
            name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
            self._path = cache_root() / "code" / f"{name}.json"
            seal, _, text = self._path.read_bytes().partition(b"\n")
            if seal.decode(errors="replace") == _seal(text):
                self._kept = json.loads(text)

    def get(self, name: str, state: FileState) -> Reading | None:
        known = self._kept.get(name)
        return known[1] if known and known[0] == state else None

    def put(self, name: str, state: FileState, reading: Reading) -> None:
        _, modified, changed, _ = state
        if max(modified, changed) < self._began - _SETTLED_AFTER:
            self._kept[name] = (state, reading)
            self._new = True

    def save(self) -> None:
        if self._new and self._path:
            text = json.dumps(self._kept, separators=(",", ":"))
            with suppress(OSError):
                write_text(self._path, f"{_seal(text.encode())}\n{text}")
            self._new = False


def _seal(text: bytes) -> str:
    """Holds for this content, as this code reads files under this Python."""
    seal = hashlib.sha256(repr(sys.version_info[:2]).encode())
    seal.update(Path(__file__).read_bytes())
    seal.update(text)
    return seal.hexdigest()


_PAGES = (".html", ".css", ".js", ".j2")
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
