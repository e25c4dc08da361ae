"""From predictions to scores (a row an example) and metrics. No model, no GPU."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from snaketune.config.evaluation import SampleSpec, SamplingSpec
from snaketune.data.example import read_examples, take_sample
from snaketune.runtime.content import digest
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl, write_json
from snaketune.runtime.parquet import write_rows
from snaketune.tasks.math_samples import read_samples
from snaketune.tasks.registry import MEASURERS
from snaketune.tasks.task import Answered


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
    measurer = MEASURERS["math_samples" if sampled else protocol["task"]]
    sample = SampleSpec.model_validate(protocol["sample"]) if protocol["sample"] else None
    sampling = SamplingSpec.model_validate(sampled) if sampled else None
    rows = join(examples, predictions, verdicts, sample, sampling, rewards)
    scores = [measurer.score(replace(row, protocol=protocol)) for row in rows]
    write_rows(scores_to, scores, measurer.schema)
    write_json(
        metrics_to,
        {
            "state": state,
            "eval": eval_name,
            "protocol_name": protocol_name,
            "protocol_hash": digest(protocol),
            "protocol": protocol,
            "counts": measurer.counts(scores),
            "rows": measurer.metrics(eval_name, scores),
        },
    )


def join(
    examples: Path,
    predictions: Path,
    verdicts: Path | None,
    sample: SampleSpec | None = None,
    sampling: SamplingSpec | None = None,
    rewards: Path | None = None,
) -> list[Answered]:
    """Each sampled example with its prediction (or all its samples) and its verdict, in the
    sample's order.

    The three must hold exactly the same ids, each once; else the files don't belong together and
    a share over them would mean nothing: UserError.
    """
    asked = {example.id: example for example in take_sample(read_examples(examples), sample)}
    answered = (
        read_samples(predictions, rewards, asked, sampling) if sampling else _by_id(predictions)
    )
    judged = _by_id(verdicts) if verdicts else None
    _check_same(answered, asked, predictions, examples)
    if judged is not None:
        _check_same(judged, asked, verdicts, examples)
    return [
        Answered(example, answered[id_], judged[id_] if judged else None)
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
