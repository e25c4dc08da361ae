"""What a file of code says, apart from how it is written."""

import ast
import hashlib

from snaketune.runtime.errors import UserError

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
        parts.append(f"{value!a},")


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
            if isinstance(text, ast.Constant):
                names.add(f"{text.value}*")
    return {name for name in names if name == _PACKAGE or name.startswith(f"{_PACKAGE}.")}
