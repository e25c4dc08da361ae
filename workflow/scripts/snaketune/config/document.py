"""Writes config/schema.json and config/README.md from the config models.

Run as `python -m snaketune.config.document` in `workflow/scripts`, or `make docs`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snaketune.config.experiment import Experiment

_INTRODUCTION = """\
# Configuration

An experiment is one YAML file: models, data, presets, evals and the runs that combine them. Start
it with `snakemake --cores all --resources gpu=1 --configfile FILE`; without `--configfile` the demo
in `config.yaml` runs. Several files behind one `--configfile` are merged, later ones win;
`--config KEY=VALUE` wins over all. Numbers may be written `1e-4` or `1.0e-4`. An unknown key is a
fault, and all faults are reported together, each with its file and line.

`experiments/` holds the reference recipes. `schema.json` describes the same keys for editors: put
`# yaml-language-server: $schema=config/schema.json` on a file's first line.
This page is generated from the config models (`make docs`).
"""


def schema() -> dict[str, Any]:
    """The JSON schema of a config file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Experiment.model_json_schema(),
    }


def page() -> str:
    """config/README.md"""
    whole = schema()
    definitions = dict(_sections(whole))
    parts = [_INTRODUCTION, *(_section(title, node) for title, node in definitions.items())]
    return "\n".join(parts)


def _sections(whole: dict[str, Any]) -> Iterator[tuple[str, dict]]:
    """The top level, then each model in the order in which it is first named."""
    yield "Top level", whole
    seen: list[str] = []
    queue = [whole]
    while queue:
        for name in _references(queue.pop(0).get("properties", {})):
            if name not in seen:
                seen.append(name)
                queue.append(whole["$defs"][name])
    for name in seen:
        yield _title(name), whole["$defs"][name]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rsplit("/", 1)[1]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


_TITLES = {
    "ModelSpec": "An entry of `models`",
    "DatasetSpec": "An entry of `datasets`",
    "Preset": "An entry of `presets`",
    "EvalSpec": "An entry of `evals`",
    "RunSpec": "An entry of `runs`",
}


def _title(name: str) -> str:
    return _TITLES.get(name, f"`{name}`")


def _section(title: str, node: dict[str, Any]) -> str:
    required = node.get("required", [])
    rows = [
        f"| `{key}` | {_type(value)} | {_default(key, value, required)} | {_text(value)} |"
        for key, value in node["properties"].items()
    ]
    text = "" if title == "Top level" else f"{_flat(node.get('description', ''))}\n\n"
    head = "| key | value | default | meaning |\n| --- | --- | --- | --- |"
    return f"## {title}\n{text}{head}\n" + "\n".join(rows) + "\n"


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _text(value: dict[str, Any]) -> str:
    return _flat(value.get("description", ""))


def _default(key: str, value: dict[str, Any], required: list[str]) -> str:
    if key in required:
        return "required"
    default = value.get("default")
    if isinstance(default, dict) or default in (None, []):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _type(node: dict[str, Any]) -> str:
    """A value's form in a word or two."""
    if "$ref" in node:
        return _reference(node["$ref"].rsplit("/", 1)[1])
    if "enum" in node:
        return ", ".join(f"`{v}`" for v in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if found := node.get("anyOf") or node.get("oneOf"):
        kinds = [_type(n) for n in found if n.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}"
    if node.get("type") == "object":
        return _mapping(node)
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(
        node.get("type", ""), node.get("type", "anything")
    )


def _reference(name: str) -> str:
    return "see below" if name in _TITLES else f"see `{name}`"


def _mapping(node: dict[str, Any]) -> str:
    inner = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    values = next((v for v in inner if isinstance(v, dict)), {})
    return f"by name: {_type(values)}"


def main() -> None:
    """Writes both files into the project's `config` folder."""
    folder = Path(__file__).resolve().parents[4] / "config"
    text = json.dumps(schema(), indent=2) + "\n"
    (folder / "schema.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
