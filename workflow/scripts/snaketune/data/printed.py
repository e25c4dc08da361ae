"""Lists and dicts that a table holds as text. Nothing is evaluated."""

import ast
import io
import tokenize
from typing import TypeGuard

from snaketune.data.json_keys import parse


def read_printed(text: str) -> object:
    """What JSON, or Python's print of lists, dicts and arrays, says; of a printed dict only what
    stands under `value`, so that nothing else needs to be understood. Raises `ValueError` where
    `text` is not all of it one list or dict, or has a key twice."""
    if not text.lstrip().startswith(("{", "[")):
        raise ValueError("no list or dict")
    try:
        value, repeats = parse(text)
    except (ValueError, RecursionError):
        return _python(text)
    if repeats:
        raise ValueError("a key twice")
    return value


def _python(text: str) -> object:
    """What Python printed."""
    try:
        return _plain(ast.parse(text.strip(), mode="eval").body, text.strip())
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None


def _plain(node: ast.expr, text: str) -> object:
    """The value of a piece of `text`."""
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        values = [_plain(value, text) for key, value in pairs if _is_value(key)]
        if len(values) > 1:
            raise ValueError("a key twice")
        return {"value": values[-1]} if values else {}
    if isinstance(node, ast.List):
        return [item for element in node.elts for item in _items(element, text)]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id == "nan":
        return None
    if _is_array(node) and node.args and isinstance(node.args[0], ast.List):
        return _plain(node.args[0], text)
    raise ValueError("no list, dict, array or plain value")


def _items(node: ast.expr, text: str) -> list[object]:
    """An element of a list. An array prints its texts without commas (`['a' 'b']`), which Python
    would read as one text."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return [_plain(node, text)]
    # In brackets, so that the literals may stand on several lines.
    source = io.StringIO(f"({ast.get_source_segment(text, node)})")
    tokens = tokenize.generate_tokens(source.readline)
    return [ast.literal_eval(t.string) for t in tokens if t.type == tokenize.STRING]


def _is_array(node: ast.expr) -> TypeGuard[ast.Call]:
    """Whether it is written `array(…)`."""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "array"
    )


def _is_value(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "value"
