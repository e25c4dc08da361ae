"""From predictions to scores (a row an example) and metrics. No model, no GPU."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from snaketune.config.dataset import SampleSpec
from snaketune.config.evaluation import SamplingSpec
from snaketune.data.example import read_examples, take_sample
from snaketune.runtime.content import digest
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl, write_json, write_rows
from snaketune.tasks.task import ALL, Answered, Metric, proportion, task_of, without_interval


def measure(
    examples: Path,
    predictions: Path,
    verdicts: Path | None,
    scores_to: Path,
    metrics_to: Path,
    *,
    state: str,
    eval_name: str,
    protocol_name: str,
    protocol: dict[str, Any],
    rewards: Path | None = None,
) -> None:
    """Scores every prediction and writes both files, each whole or not at all."""
    sampled = protocol.get("sampling")
    task = task_of("math_samples" if sampled else protocol["task"])
    sample = SampleSpec.model_validate(protocol["sample"]) if protocol["sample"] else None
    sampling = SamplingSpec.model_validate(sampled) if sampled else None
    rows = join(examples, predictions, verdicts, sample, sampling, rewards, protocol=protocol)
    scores = task.scores(rows)
    write_rows(scores_to, scores, task.schema)
    write_json(
        metrics_to,
        {
            "state": state,
            "eval": eval_name,
            "protocol_name": protocol_name,
            "protocol_hash": digest({**protocol, "version": task.version}),
            "protocol_version": task.version,
            "protocol": protocol,
            "counts": task.counts(scores),
            "rows": [*task.metrics(eval_name, scores), *thought_metrics(eval_name, rows)],
        },
    )


def thought_metrics(eval_name: str, rows: Sequence[Answered]) -> list[Metric]:
    """How long the thoughts were that were cut from replies, and how many did not end, which leaves
    no answer; nothing where no reply has any."""
    predictions = [row.prediction for row in rows]
    said = [reply for p in predictions for reply in p.get("samples", [p])]
    thoughts = [reply for reply in said if "thoughts" in reply]
    if not thoughts:
        return []
    lengths = [r["thought_tokens"] for r in thoughts if "thought_tokens" in r]
    mean = sum(lengths) / len(lengths) if lengths else None
    cut = [not r["thoughts_ended"] for r in thoughts]
    over = [r["thoughts_over_budget"] for r in thoughts if "thoughts_over_budget" in r]
    return [
        without_interval(eval_name, ALL, "thought_tokens", mean, len(lengths)),
        proportion(eval_name, ALL, "thoughts_cut_off", cut),
        *([proportion(eval_name, ALL, "thoughts_over_budget", over)] if over else []),
    ]


def join(
    examples: Path,
    predictions: Path,
    verdicts: Path | None,
    sample: SampleSpec | None = None,
    sampling: SamplingSpec | None = None,
    rewards: Path | None = None,
    *,
    protocol: dict[str, Any] | None = None,
) -> list[Answered]:
    """Each sampled example with its prediction (or all its samples) and its verdict, in the
    sample's order.

    The three must hold exactly the same ids, each once; else the files don't belong together and
    a share over them would mean nothing: UserError.
    """
    protocol = protocol or {}
    asked = {example.id: example for example in take_sample(read_examples(examples), sample)}
    answered = (
        read_samples(predictions, rewards, asked, sampling) if sampling else _by_id(predictions)
    )
    judged = _by_id(verdicts) if verdicts else None
    _check_same(answered, asked, predictions, examples)
    if verdicts and judged is not None:
        _check_same(judged, asked, verdicts, examples)
    return [
        Answered(example, answered[id_], judged[id_] if judged else None, protocol)
        for id_, example in asked.items()
    ]


def _by_id(path: Path) -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = {}
    for line, record in enumerate(read_jsonl(path), start=1):
        if record["id"] in records:
            raise UserError(f"{path}, line {line}: id {record['id']!r} comes twice")
        records[record["id"]] = record
    return records


def _check_same(
    found: Mapping[str, Any], expected: Mapping[str, Any], path: Path, other: Path
) -> None:
    if found.keys() != expected.keys():
        odd = sorted(found.keys() ^ expected.keys())
        raise UserError(
            f"{path} has {len(found)} records where the sample of {other} has {len(expected)}; "
            f"{len(odd)} ids are in one of them only, such as {odd[0]!r}. They don't belong "
            "together: make the predictions again."
        )


Place = tuple[str, int]
"""An example's id and the number of one of its samples, from 0."""

_LISTED = 20


def read_samples(
    predictions: Path, rewards: Path | None, ids: Collection[str], spec: SamplingSpec
) -> dict[str, dict[str, Any]]:
    """By example: its `samples` in order, each a line of the predictions with its `reward`.

    Raises UserError unless both files hold every sample of every example, each once. There are as
    many as the eval asks for; predictions made elsewhere say on their lines how many they are.
    """
    lines = _by_place(predictions)
    count = next((line["of"] for line in lines.values() if "of" in line), spec.samples)
    if count < spec.at[-1]:
        raise UserError(
            f"{predictions}: found {count} samples of each question, expected at least "
            f"{spec.at[-1]}, the largest number in the eval's sampling.at"
        )
    expected = [(id_, sample) for id_ in ids for sample in range(count)]
    _require_same(predictions, lines, expected)
    if rewards is not None:
        scored = _by_place(rewards)
        _require_same(rewards, scored, expected)
        lines = {place: line | {"reward": scored[place]["reward"]} for place, line in lines.items()}
    return {id_: {"id": id_, "samples": [lines[id_, s] for s in range(count)]} for id_ in ids}


def _by_place(path: Path) -> dict[Place, dict[str, Any]]:
    found: dict[Place, dict[str, Any]] = {}
    for line, record in enumerate(read_jsonl(path), start=1):
        if "sample" not in record:
            raise UserError(f"{path}, line {line}: found no sample, expected the sample's number")
        place = record["id"], record["sample"]
        if place in found:
            raise UserError(f"{path}, line {line}: sample {_named(place)} comes twice")
        found[place] = record
    return found


def _require_same(path: Path, found: Collection[Place], expected: list[Place]) -> None:
    faults = []
    if missing := [place for place in expected if place not in found]:
        faults.append(f"{len(missing)} missing: {_listed(missing)}")
    known = set(expected)
    if odd := [place for place in found if place not in known]:
        faults.append(f"{len(odd)} that nothing asks for: {_listed(odd)}")
    if faults:
        raise UserError(
            f"{path}: found {len(found)} samples, expected {len(expected)}; {'; '.join(faults)}. "
            "Make the file again."
        )


def _listed(places: list[Place]) -> str:
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    return ", ".join(map(_named, places[:_LISTED])) + more


def _named(place: Place) -> str:
    return f"{place[1]} of {place[0]!r}"
