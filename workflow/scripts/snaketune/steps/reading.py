"""What a file of code says, apart from how it is written, and a memory of what was read."""

import ast
import hashlib
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

from snaketune.runtime.content import cache_root
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_text

_PACKAGE = "snaketune"


def read_code(name: str, content: bytes) -> tuple[str, list[str]]:
    """12 hex digits of what a file says, and the names under `snaketune` that it imports.

    Python counts without comments, docstrings and layout; page templates and style sheets count
    by their bytes. Annotations do count: what pydantic and dataclasses do follows from them.
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
