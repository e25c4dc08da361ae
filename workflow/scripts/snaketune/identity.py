"""What identifies a step: plain values, the content of files, and the code that does the work."""

import ast
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from snaketune.hash_memory import Seen

_PACKAGE = "snaketune"
_PAGES = ("*.html", "*.css", "*.j2")
_SMALL = 65536  # bytes; a smaller file is read faster than it is remembered
_READERS = 4  # files at once; with more, disks are what takes the time


def digest(value: object) -> str:
    """12 hex digits of `value` as canonical JSON: key order and machine play no part."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """`file_hash`, which for a file that is as it was last time takes no reading."""
    seen = Seen(path)
    if seen.size < _SMALL:
        return file_hash(path)
    known = seen.recall()
    if known is None:
        known = file_hash(path)
        seen.remember(known)
    return known


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """`content_hash` of each, several at once: hashing leaves the interpreter to others."""
    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(content_hash, paths))


def code_hash(script: Path) -> str:
    """12 hex digits over a script and every library module that it imports, at any depth."""
    root = script.resolve().parent
    files = {script.resolve()}
    open_ends = [script.resolve()]
    while open_ends:
        found = _imports(open_ends.pop(), root) - files
        files |= found
        open_ends += found
    return digest({str(f.relative_to(root)): _content(f) for f in files})


@cache
def _content(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _imports(file: Path, root: Path) -> frozenset[Path]:
    """Library files that `file` imports, wherever in it the import stands."""
    if file.suffix != ".py":
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import name`: the name may be a module of the package.
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = (n for n in names if n == _PACKAGE or n.startswith(f"{_PACKAGE}."))
    return frozenset(f for name in ours for f in _files(name, root))


@cache
def _files(module: str, root: Path) -> list[Path]:
    """The module's file and those of the packages around it, which Python runs first."""
    parts = module.split(".")
    folders = [root.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    modules = [folder / "__init__.py" for folder in folders] + [folders[-1].with_suffix(".py")]
    # Page templates and style sheets beside a package's modules are part of what it does.
    pages = [f for folder in folders for kind in _PAGES for f in folder.glob(kind)]
    return [f for f in (*modules, *pages) if f.is_file()]
