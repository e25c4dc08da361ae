"""Lists and dicts that a table holds as text. Nothing is evaluated."""

import ast
import json
from typing import TypeGuard


def read_printed(text: str) -> object:
    """What JSON, or Python's print of lists, dicts and arrays, says; of a printed dict only what
    stands under `value`, so that nothing else needs to be understood. Raises `ValueError` where
    `text` is not all of it one list or dict."""
    if not text.lstrip().startswith(("{", "[")):
        raise ValueError("no list or dict")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return _plain(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None


def _plain(node: ast.expr) -> object:
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        values = [_plain(value) for key, value in pairs if _is_value(key)]
        return {"value": values[-1]} if values else {}
    if isinstance(node, ast.List):
        return [_plain(item) for item in node.elts]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id == "nan":
        return None
    if _is_array(node) and node.args and isinstance(node.args[0], ast.List):
        return _plain(node.args[0])
    raise ValueError("no list, dict, array or plain value")


def _is_array(node: ast.expr) -> TypeGuard[ast.Call]:
    """Whether it is written `array(…)`."""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "array"
    )


def _is_value(key: ast.expr | None) -> bool:
    return isinstance(key, ast.Constant) and key.value == "value"
