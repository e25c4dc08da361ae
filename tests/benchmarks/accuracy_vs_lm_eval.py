"""Multiple choice from files to accuracy, against an lm-evaluation-harness task on the records.

    REAL_DATA_DIR=FOLDER python tests/benchmarks/accuracy_vs_lm_eval.py [--model FOLDER]

The articles' questions go through prepare, score_options and measure on our side, and as a task of
`simple_evaluate` on the other. Runs in `.venv-bench`; fails where a choice or an accuracy differs.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import lm_eval
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from summary import ROOT, Entry, record

sys.path.append(str(ROOT / "workflow" / "scripts"))
from snaketune.config.dataset import DatasetSpec
from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import ModelSpec
from snaketune.data.example import read_examples
from snaketune.data.prepare import prepare
from snaketune.inference.score_options import OptionsProtocol, score_options
from snaketune.inference.state import State
from snaketune.jsonl import read_jsonl, write_jsonl
from snaketune.measures.measure import measure
from snaketune.tasks.conversation import worded
from snaketune.tasks.wording import options_protocol

EVAL = EvalSpec(task="multiple_choice", dataset="f1", split="train", options={"chat": False})


def ours(model: str, data: Path, folder: Path) -> tuple[list[list[float]], dict[str, float]]:
    """Log-probabilities of each question's options, and the metrics over all questions."""
    spec = DatasetSpec(source=str(data), format="f1_qa", rejected_at_most=0.01)
    prepare(spec, folder / "f1")
    examples = folder / "f1" / "train.parquet"
    protocol = options_protocol(EVAL)
    score_options(
        State(ModelSpec(id=model), "none", "none", []),
        OptionsProtocol(**protocol),
        examples,
        folder / "work",
        folder / "scores.jsonl",
        folder / "meta.json",
    )
    names = {"state": "m", "eval_name": "f1", "protocol_name": "f1"}
    plain = EVAL.model_dump(mode="json")
    where = (folder / "scores.parquet", folder / "metrics.json")
    measure(examples, folder / "scores.jsonl", None, *where, **names, protocol=plain)
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    found = {row["metric"]: row["value"] for row in rows if row["subset"] == "all"}
    return [record["sums"] for record in read_jsonl(folder / "scores.jsonl")], found


def theirs(model: str, folder: Path) -> tuple[list[list[float]], dict[str, float]]:
    """The same from lm-eval's evaluator."""
    context = options_protocol(EVAL)["context"]
    docs = [
        {
            "text": worded(context, "multiple_choice", e),
            "choices": e.choices,
            "gold": "ABCD".index(e.label),
        }
        for e in read_examples(folder / "f1" / "train.parquet")
    ]
    write_jsonl(folder / "docs.jsonl", docs)
    metrics = [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm")
    ]
    task = {
        "task": "f1_parity",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "docs.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": metrics,
    }
    (folder / "tasks").mkdir()
    (folder / "tasks" / "f1.yaml").write_text(yaml.safe_dump(task))
    found = lm_eval.simple_evaluate(
        HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=16),
        tasks=["f1_parity"],
        task_manager=TaskManager(include_path=str(folder / "tasks"), include_defaults=False),
        bootstrap_iters=0,
    )
    samples = sorted(found["samples"]["f1_parity"], key=lambda s: s["doc_id"])
    sums = [[float(reply[0]) for reply in s["filtered_resps"]] for s in samples]
    results = found["results"]["f1_parity"]
    return sums, {"sum": results["acc,none"], "characters": results["acc_norm,none"]}


def main() -> None:
    """Compares, and prints the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "data" / "demo" / "model"))
    model = parser.parse_args().model
    real = os.environ.get("REAL_DATA_DIR")
    if not real:
        print("REAL_DATA_DIR is unset: nothing to compare on")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mine, metrics = ours(model, Path(real) / "f1_qa", folder)
        other, accuracies = theirs(model, folder)
    error = max(
        abs(a - b) for x, y in zip(mine, other, strict=True) for a, b in zip(x, y, strict=True)
    )
    pairs = {"accuracy_sum": "sum", "accuracy_per_character": "characters"}
    print(f"{len(mine)} questions; largest difference of a log-probability: {error:.1e}")
    name = "multiple choice from files: difference from lm-eval"
    record([Entry(name, error, 1.0, "log-probability", 1e-4, "lower")])
    for name, key in pairs.items():
        print(f"{name}: {metrics[name]:.6f}, lm-eval {accuracies[key]:.6f}")
        if abs(metrics[name] - accuracies[key]) > 1e-9:
            raise SystemExit(f"{name} differs from lm-eval's")
    if error > 1e-4:
        raise SystemExit("log-probabilities differ from lm-eval's by more than 1e-4")


if __name__ == "__main__":
    main()
