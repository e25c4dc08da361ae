"""The model card of a run: what it was trained on and how it did, with intervals."""

import csv
import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from snaketune.runtime.content import flat
from snaketune.tasks.task import ALL

Json = dict[str, Any]
_HELD = {"nf4": "in NF4 (4 bits)", "none": "without quantisation"}


def model_card(final: Path, comparisons: Path, base: Path, run: str, about: Json) -> str:
    """Markdown with the hub's metadata on top.

    `final` and `comparisons` are the experiment's tables, `base` is the record of the base model;
    `about` is `plan.about_run`'s. No licence is stated for the model: that is for its owner to say.
    """
    results, model = (json.loads(file.read_text(encoding="utf-8")) for file in (final, base))
    result = next(r for r in results["runs"] if r["run"] == run)
    with comparisons.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["subset"] == ALL]
    compared = {(row["run"], row["eval"], row["metric"]): row for row in rows}
    lines = [
        f"---\n{_metadata(model, about)}\n---\n",
        f"# {run}\n",
        f"{_origin(model, about)} (experiment `{results['experiment']}`, made with snaketune).\n",
        "## Evaluation\n",
        f"{_measured_on(about)}\n",
        "| eval | metric | base | this model | 95 % interval | n | p against the base | protocol |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in result["evals"].items():
        before = result["base_evals"].get(name, {"value": None})
        against = compared.get((run, name, found["metric"]))
        lines.append(_line(name, found, before["value"], against, about["protocols"][name]))
    lines += ["\n## Protocols\n", "| eval | setting | value |", "| --- | --- | --- |"]
    for name, spec in about["protocols"].items():
        settings = {key: value for key, value in flat(spec).items() if value not in (None, "")}
        if "judge_guideline" in settings:
            settings["judge_guideline"] = Path(settings["judge_guideline"]).name
        lines += [f"| {name} | {key} | {_cell(value)} |" for key, value in settings.items()]
    if about["preset"]:
        lines += ["\n## Training\n", "| setting | value |", "| --- | --- |"]
        lines += [f"| {key} | {value} |" for key, value in flat(about["preset"]).items()]
    return "\n".join(lines) + "\n"


def _origin(model: Json, about: Json) -> str:
    """The base, its revision and what was done to it. A folder is named without its path, which
    is another machine's."""
    base = f"`{model['id']}`" if model["folder"] is None else f"`{Path(model['id']).name}`"
    base += f" (revision `{model['commit']}`)" if model["commit"] else ""
    held = _HELD[about["quantisation"]]
    if about["train_data"] is None:
        return f"{base} {held}, with the adapter `{_named(about['adapter'])}` on it"
    licence = f" (data under {about['data_licence']})" if about["data_licence"] else ""
    trained = "all weights" if about["weights"] == "full" else f"an adapter ({about['method']})"
    return f"{base} {held}, fine-tuned: {trained}, on `{about['train_data']}`{licence}"


def _named(adapter: str) -> str:
    """A folder's name without its path; one on the hub as it is."""
    return adapter if adapter.startswith("hub:") else Path(adapter).name


def _measured_on(about: Json) -> str:
    """What the numbers are of, which need not be the very files that are uploaded."""
    if about["weights"] == "full":
        return "Measured on these weights."
    state = f"the adapter on the base {_HELD[about['quantisation']]}"
    if not about["merged"]:
        return f"Measured on {state}: load the base so."
    onto = "de-quantised NF4" if about["quantisation"] == "nf4" else "base's"
    return (
        f"Measured on {state}. The weights here are that adapter merged onto the {onto} weights: "
        "the same model but for the rounding of the merged weights."
    )


def _metadata(model: Json, about: Json) -> str:
    adapter = about["weights"] == "adapter" and not about["merged"]
    return ModelCardData(
        base_model=model["id"] if model["folder"] is None else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["snaketune", about["method"]],
    ).to_yaml()


def _line(name: str, found: Json, base: float | None, against: Json | None, spec: Json) -> str:
    span = "–" if found["low"] is None else f"{found['low']:.3f} to {found['high']:.3f}"
    p = f"{float(against['p']):.3g}" if against and against["p"] else "–"
    cells = [
        name,
        found["metric"],
        _score(base),
        _score(found["value"]),
        span,
        found["n"],
        p,
    ]
    return "| " + " | ".join(map(str, [*cells, _protocol(found, spec)])) + " |"


def _protocol(found: Json, spec: Json) -> str:
    """In a few words; all settings stand below under the eval's name."""
    few_shot = f"{spec['few_shot']} examples shown" if spec["few_shot"] else "no examples shown"
    return f"{few_shot}, {_read(spec)} (`{found['protocol_hash']}`)"


def _read(spec: Json) -> str:
    reads_text = (spec["classes"] or {}).get("read") == "text"
    if spec["task"] in ("multiple_choice", "classification") and not reads_text:
        return "scored by log-probability"
    if sampling := spec["sampling"]:
        drawn = f"temperature {sampling['temperature']:g}, top-p {sampling['top_p']:g}"
        return f"{sampling['samples']} samples at {drawn}"
    thinking = spec.get("thinking")
    thoughts = f" behind {thinking['budget']} of thoughts" if isinstance(thinking, dict) else ""
    return f"greedy, at most {spec['max_new_tokens']} new tokens{thoughts}"


def _cell(value: Any) -> str:
    """Text of a config in a cell of a Markdown table."""
    return str(value).replace("|", "\\|").replace("\n", "<br>")


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
