"""From predictions to scores (a row an example) and metrics. No model, no GPU."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snaketune.errors import UserError
from snaketune.jsonl import read_jsonl, write_json
from snaketune.measures.metrics import Score
from snaketune.measures.task import Answered
from snaketune.measures.tasks import MEASURERS

Records = dict[str, dict[str, Any]]
"""Records by example id, in file order."""


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
) -> None:
    """Scores every prediction and writes both files, each whole or not at all."""
    measurer = MEASURERS[protocol["task"]]
    scores = [measurer.score(row) for row in join(examples, predictions, verdicts)]
    _write_scores(scores_to, scores, measurer.schema)
    write_json(
        metrics_to,
        {
            "state": state,
            "eval": eval_name,
            "protocol_name": protocol_name,
            "protocol_hash": protocol_hash(protocol),
            "protocol": protocol,
            "counts": measurer.counts(scores),
            "rows": measurer.metrics(eval_name, scores),
        },
    )


def join(examples: Path, predictions: Path, verdicts: Path | None) -> list[Answered]:
    """Each prediction with its example and its verdict, in the predictions' order.

    A prediction for no example, an id that comes twice, or verdicts on other rows than the
    predictions' mean that the files don't belong together: UserError.
    """
    asked = {row["id"]: row for row in pq.read_table(examples).to_pylist()}
    answered = _by_id(predictions)
    judged = _by_id(verdicts) if verdicts else None
    _check_known(answered, asked, predictions, examples)
    if judged is not None:
        _check_known(judged, answered, verdicts, predictions)
        _check_known(answered, judged, predictions, verdicts)
    return [
        Answered(asked[id_], prediction, judged[id_] if judged else None)
        for id_, prediction in answered.items()
    ]


def protocol_hash(protocol: dict[str, Any]) -> str:
    """12 hex digits that tell one protocol from another."""
    text = json.dumps(protocol, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_scores(path: Path) -> list[Score]:
    """The rows of a scores file."""
    return pq.read_table(path).to_pylist()


def _write_scores(path: Path, scores: list[Score], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.Table.from_pylist(scores, schema=schema), temporary)
    temporary.replace(path)


def _by_id(path: Path) -> Records:
    records: Records = {}
    for line, record in enumerate(read_jsonl(path), start=1):
        if record["id"] in records:
            raise UserError(f"{path}, line {line}: id {record['id']!r} comes twice")
        records[record["id"]] = record
    return records


def _check_known(found: Records, expected: Records, path: Path, other: Path) -> None:
    strangers = [id_ for id_ in found if id_ not in expected]
    if strangers:
        raise UserError(
            f"{path}: {len(strangers)} of {len(found)} ids are not in {other}, "
            f"the first is {strangers[0]!r}. The files don't belong together: make them again."
        )
