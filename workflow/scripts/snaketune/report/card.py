"""The model card of a run: what it was trained on and how it did, with intervals; and its results
as the hub's leaderboards read them, in the card's model-index and the files of `.eval_results`.
"""

import csv
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCardData,
    eval_result_entries_to_yaml,
)

from snaketune.plan.table_plan import compared_in
from snaketune.runtime.content import flat
from snaketune.runtime.errors import in_markdown, visible
from snaketune.runtime.files import read_json
from snaketune.tasks.task import ALL

Json = dict[str, Any]
_HELD = {"nf4": "in NF4 (4 bits)", "none": "without quantisation"}


def model_card(final: Path, comparisons: Path, base: Path, run: str, about: Json) -> str:
    """Markdown with the hub's metadata on top.

    `final` and `comparisons` are the experiment's tables, `base` is the record of the base model;
    `about` is `plan.about_run`'s. No licence is stated for the model: that is for its owner to say.
    """
    results, model = (read_json(file) for file in (final, base))
    result = next(r for r in results["runs"] if r["run"] == run)
    with comparisons.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["subset"] == ALL]
    compared = {(row["run"], row["eval"], row["metric"]): row for row in rows}
    lines = [
        f"---\n{_metadata(model, about, _indexed(result, about))}\n---\n",
        f"# {in_markdown(run)}\n",
        f"{_origin(model, about)} (experiment `{results['experiment']}`, made with snaketune).\n",
        "## Did it help?\n",
        *[
            f"- **{in_markdown(name)}**: {in_markdown(said['sentence'])}"
            for name, said in result["verdicts"].items()
        ],
        "\n## Evaluation\n",
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
        lines += [f"| {key} | {_cell(value)} |" for key, value in flat(about["preset"]).items()]
    return "\n".join(lines) + "\n"


def _origin(model: Json, about: Json) -> str:
    """The base, its revision and what was done to it. A folder is named without its path, which
    is another machine's."""
    base = _code(model["id"] if model["folder"] is None else Path(model["id"]).name)
    base += f" (revision `{model['commit']}`)" if model["commit"] else ""
    held = _HELD[about["quantisation"]]
    if about["train_data"] is None:
        return f"{base} {held}, with the adapter {_code(_named(about['adapter']))} on it"
    licence = about["data_licence"] and f" (data under {in_markdown(about['data_licence'])})"
    trained = "all weights" if about["weights"] == "full" else f"an adapter ({about['method']})"
    return f"{base} {held}, fine-tuned: {trained}, on {_code(about['train_data'])}{licence or ''}"


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


def _indexed(result: Json, about: Json) -> list[EvalResult]:
    """The run's figures for the model-index; what is missing is in none."""
    return [
        EvalResult(
            task_type="text-generation",
            task_name=name,
            dataset_type=hub_dataset(about, name) or about["protocols"][name]["dataset"],
            dataset_name=about["protocols"][name]["dataset"],
            dataset_config=_data_of(about, name).get("subset"),
            dataset_split=about["protocols"][name]["split"],
            dataset_revision=_data_of(about, name).get("revision"),
            metric_type=found["metric"],
            metric_name=f"{name} {found['metric'].replace('_', ' ')}",
            metric_value=found["value"],
            metric_args=_beside(result, name),
        )
        for name, found in result["evals"].items()
        if found["value"] is not None
    ]


def _beside(result: Json, name: str) -> Json:
    """What a figure is worth: its interval and n, the base's figure, and the difference from it."""
    found, base = result["evals"][name], result["base_evals"].get(name)
    args = {key: found[key] for key in ("low", "high", "n", "protocol_hash")}
    said = result["verdicts"][name]
    compared = compared_in(said)
    if base and compared["n"]:
        args |= {"base": base["value"], "verdict": said["kind"], "p": compared["p_holm"]}
        args |= {f"difference{end}": compared[key] for end, key in _DIFFERENCE.items()}
    return args


_DIFFERENCE = {"": "difference", "_low": "low", "_high": "high"}


def _data_of(about: Json, name: str) -> Json:
    """Where the eval's data came from."""
    return about["datasets"].get(about["protocols"][name]["dataset"], {})


def hub_dataset(about: Json, name: str) -> str | None:
    """The hub's id of the eval's data; None: it is not from there."""
    source = str(_data_of(about, name).get("source"))
    return source.removeprefix("hub:") if source.startswith("hub:") else None


def eval_results(final: Path, run: str, about: Json) -> str | None:
    """The run's figures on datasets of the hub as a file of `.eval_results`, which leaderboards of
    these datasets read; None where no eval is on one."""
    results = read_json(final)
    result = next(r for r in results["runs"] if r["run"] == run)
    entries = [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=_data_of(about, name).get("subset") or "default",
            dataset_revision=_data_of(about, name).get("revision"),
            value=100 * found["value"],
            notes=_notes(result, name),
        )
        for name, found in result["evals"].items()
        if (dataset := hub_dataset(about, name)) and found["value"] is not None
    ]
    if not entries:
        return None
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)


def _notes(result: Json, name: str) -> str:
    found = result["evals"][name]
    span = "" if found["low"] is None else f", 95 % interval {_score(found['low'])} to "
    span += "" if found["low"] is None else _score(found["high"])
    protocol = f"{found['metric']}{span}, n {found['n']}, protocol {found['protocol_hash']}"
    return f"{protocol}. {result['verdicts'][name]['sentence']}"


def _metadata(model: Json, about: Json, results: list[EvalResult]) -> str:
    adapter = about["weights"] == "adapter" and not about["merged"]
    return ModelCardData(
        model_name=about["run"],
        eval_results=results or None,
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
    if spec["task"] in ("multiple_choice", "classification", "perplexity") and not reads_text:
        return "scored by log-probability"
    if sampling := spec["sampling"]:
        drawn = f"temperature {sampling['temperature']:g}, top-p {sampling['top_p']:g}"
        return f"{sampling['samples']} samples at {drawn}"
    thinking = spec.get("thinking")
    thoughts = f" behind {thinking['budget']} of thoughts" if isinstance(thinking, dict) else ""
    return f"greedy, at most {spec['max_new_tokens']} new tokens{thoughts}"


def _cell(value: Any) -> str:
    """Text of a config in a cell of a Markdown table."""
    return "<br>".join(map(in_markdown, str(value).split("\n")))


def _code(text: str) -> str:
    """A name in a span of code, which has no escapes: a mark that would end it is another one."""
    return f"`{visible(text).replace('`', chr(39))}`"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
