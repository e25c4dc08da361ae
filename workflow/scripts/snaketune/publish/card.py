"""The model card of a run: what it was trained on and how it did, with intervals."""

import csv
import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from snaketune.tables.summary import flat

Json = dict[str, Any]


def card(final: Path, comparisons: Path, run: str, about: Json) -> str:
    """Markdown with the hub's metadata on top.

    `final` and `comparisons` are the experiment's tables; `about` is `plan.about_run`'s. No licence
    is stated for the model: that is for its owner to say.
    """
    results = json.loads(final.read_text(encoding="utf-8"))
    result = next(r for r in results["runs"] if r["run"] == run)
    with comparisons.open(newline="", encoding="utf-8") as file:
        compared = {(r["run"], r["eval"], r["metric"]): r for r in csv.DictReader(file)}
    lines = [
        f"---\n{_metadata(about)}\n---\n",
        f"# {run}\n",
        f"`{about['base_model']}`, fine-tuned with {about['method']} on {_data(about)} (experiment "
        f"`{results['experiment']}`, made with snaketune).\n",
        "## Evaluation\n",
        "| eval | metric | base | this model | 95 % interval | n | p against the base |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in result["evals"].items():
        base = result["base_evals"].get(name, {"value": None})
        against = compared.get((run, name, found["metric"]))
        lines.append(_line(name, found, base["value"], against))
    lines += ["\n## Training\n", "| setting | value |", "| --- | --- |"]
    lines += [f"| {key} | {value} |" for key, value in flat(about["preset"]).items()]
    return "\n".join(lines) + "\n"


def _data(about: Json) -> str:
    licence = f" (data under {about['data_licence']})" if about["data_licence"] else ""
    return f"`{about['train_data']}`{licence}"


def _metadata(about: Json) -> str:
    adapter = about["method"] in ("lora", "qlora") and not about["merged"]
    return ModelCardData(
        base_model=about["base_model"],
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["snaketune", about["method"]],
    ).to_yaml()


def _line(name: str, found: Json, base: float | None, against: Json | None) -> str:
    span = "–" if found["low"] is None else f"{found['low']:.3f} to {found['high']:.3f}"
    p = f"{float(against['p']):.3g}" if against and against["p"] else "–"
    cells = [name, found["metric"], _number(base), _number(found["value"]), span, found["n"], p]
    return "| " + " | ".join(map(str, cells)) + " |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
