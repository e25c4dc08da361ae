"""Writes config/schema.json and config/README.md from the config models, and docs/formats.md from
the formats and the default prompts.

Run as `python -m snaketune.config.document` in `workflow/scripts`, or `make docs`.
"""

import ast
import json
import textwrap
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc, getdoc, getsource
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from snaketune.config.base import FORMATS, TASKS, Strict
from snaketune.config.experiment import Experiment
from snaketune.data.formats.base import adapter_of
from snaketune.prompts import wording

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
        **Experiment.model_json_schema(schema_generator=_WithTexts),
    }


class _WithTexts(GenerateJsonSchema):
    """Describes each field by the text below it in the source."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        for cls in reversed(schema["cls"].__mro__):
            if issubclass(cls, Strict):
                for name, text in _texts(cls).items():
                    made["properties"][name]["description"] = text
        return made


def _texts(cls: type) -> dict[str, str]:
    """The string that stands alone below a field of the class, by the field."""
    (tree,) = ast.parse(textwrap.dedent(getsource(cls))).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        field.target.id: cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
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


_FORMATS = """\
# Formats of data, default prompts

A dataset's `format` says what its records are; `make new DATA=FILE MODEL=FOLDER` finds it out and
drafts an experiment. Below, fields in one line stand for one another. What else records hold is
left aside. Any format is read from JSON lines, JSON (also `{"data": […]}`), CSV, Parquet,
`save_to_disk` folders, snapshots of the hub or the hub itself. Text may be compressed (.gz, .bz2,
.xz, .zst), in UTF-8, UTF-16 or Windows-1252, and tables separated by commas, semicolons, tabs or
bars: what was recognised stands in the log and, as `read_as`, in the manifest.
This page is generated from the code (`make docs`).
"""


_PROMPTS = """\
# Default prompts

Each can be replaced: `system` and `prompt` of a dataset, an eval or a run. A context stands below
the question, unless the prompt has `{context}`.
"""


def formats_page() -> str:
    """docs/formats.md"""
    tasks = [name for name, info in TASKS.items() if not info.samples_of]
    parts = [
        _FORMATS,
        *(_format(name) for name in FORMATS),
        _PROMPTS,
        *(_prompt(name) for name in tasks),
    ]
    return "\n".join(parts)


def _format(name: str) -> str:
    adapter, info = adapter_of(name)
    lines = [f"## `{name}`", _doc(import_module(adapter.__module__)), "", _doc(adapter), ""]
    if adapter.columns:
        names = [" or ".join(f"`{name}`" for name in either) for either in adapter.columns]
        lines += ["Required:", *(f"- {name}" for name in names), ""]
    if info.many_files:
        lines += [f"Files: `{info.many_files}`, of which a folder holds many.", ""]
    if info.evaluation_only:
        lines += ["There is nothing to train on: a lone file is a test split.", ""]
    if name != "table":
        lines += [f"Task: `{info.task}`.", ""]
    if adapter.settings:
        settings = json.dumps(adapter.settings, ensure_ascii=False).replace('"', "")
        lines += ["With these settings of the dataset:", _code(settings[1:-1], "yaml"), ""]
    if adapter.shown:
        lines += ["A record:", _code(json.dumps(adapter.shown, ensure_ascii=False), "json"), ""]
    return "\n".join(lines)


def _prompt(task: str) -> str:
    system = wording.MATH_SYSTEM if task == "math" else None
    prompt = {
        "multiple_choice": wording.MULTIPLE_CHOICE,
        "classification": wording.CLASSIFICATION,
        "perplexity": "",
    }.get(task, "{question}")
    lines = [f"## `{task}`"]
    if system:
        lines += ["System turn:", _code(system), ""]
    lines += ["User turn:", _code(prompt), ""] if prompt else ["None: the text as it is.", ""]
    if task == "math":
        lines += ["In plain text (`chat: false`):", _code(wording.MATH), ""]
    if task == "safety":
        judge = wording.judge_system("{the guideline}"), wording.judge_user("{question}", "{reply}")
        lines += [
            "The judge's system turn:",
            _code(judge[0]),
            "",
            "Its user turn:",
            _code(judge[1]),
        ]
        lines += [""]
    return "\n".join(lines)


def _doc(thing: object) -> str:
    return getdoc(thing) or ""


def _code(text: str, language: str = "text") -> str:
    return f"```{language}\n{text}\n```"


def main() -> None:
    """Writes the files into the project."""
    project = Path(__file__).resolve().parents[4]
    text = json.dumps(schema(), indent=2) + "\n"
    (project / "config/schema.json").write_text(text, encoding="utf-8")
    (project / "config/README.md").write_text(page(), encoding="utf-8")
    (project / "docs/formats.md").write_text(formats_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
