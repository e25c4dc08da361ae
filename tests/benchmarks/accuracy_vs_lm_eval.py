"""Multiple choice from files to accuracy, against an lm-evaluation-harness task on the records.

    REAL_DATA_DIR=FOLDER python tests/benchmarks/accuracy_vs_lm_eval.py [--model FOLDER]

The articles' questions, put as recipe 2 puts them, go through prepare, score_options and measure on
our side, and as a task of `simple_evaluate` on the other. Runs in `.venv-bench`; fails where a
choice, an accuracy or a log-probability differs.

lm-eval adds an option's log-probabilities in float32, whose steps near -500 are 6e-5 wide. Where
the two sides differ by more than 1e-4, and for the pairs that differ most, a plain pass in float64
tells how far off each of them is; ours must be within 1e-4.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import lm_eval
import torch
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from real_data import real_or_skip
from summary import ROOT, Entry, record
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.append(str(ROOT / "workflow" / "scripts"))
from snaketune.config.dataset import DatasetSpec
from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import ModelSpec
from snaketune.data.example import read_examples
from snaketune.data.prepare import prepare_split
from snaketune.inference.score_options import OptionsProtocol, score_options
from snaketune.inference.session import LoadableState
from snaketune.prompts.conversation import format_prompt
from snaketune.prompts.wording import options_protocol
from snaketune.runtime.files import read_rows, write_jsonl
from snaketune.tasks.measure import measure

RECIPE = yaml.safe_load((ROOT / "config/experiments/f1_multiple_choice.yaml").read_text())
EVAL = EvalSpec.model_validate(RECIPE["evals"]["f1"])

# Ours, and lm-eval's name of it.
CHOICES = {"sum": "acc", "per_character": "acc_norm"}
EQUAL = 1e-4
CHECKED = 20
"""At least so many options are computed in float64."""


def ours(model: str, data: Path, folder: Path) -> tuple[list[dict], dict[str, float]]:
    """The scores of each question, and the metrics over all questions."""
    spec = DatasetSpec.model_validate(RECIPE["datasets"]["f1"] | {"source": {"test": str(data)}})
    prepare_split(spec, "test", folder / "f1")
    examples = folder / "f1" / "test.parquet"
    protocol = options_protocol(EVAL)
    score_options(
        LoadableState(ModelSpec(id=model), "none", "none", []),
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
    return read_rows(folder / "scores.parquet"), found


def theirs(model: str, folder: Path) -> tuple[list[list[float]], dict[str, float]]:
    """Log-probabilities of each question's options, and the accuracies, by lm-eval's evaluator."""
    protocol = options_protocol(EVAL)
    docs = [
        {
            "text": format_prompt(protocol["context"], "multiple_choice", e, protocol["line"]),
            "choices": e.choices,
            "gold": "ABCD".index(e.label),
        }
        for e in read_examples(folder / "f1" / "test.parquet")
    ]
    write_jsonl(folder / "docs.jsonl", docs)
    metrics = [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in CHOICES.values()
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
    return sums, {kind: results[f"{name},none"] for kind, name in CHOICES.items()}


def differing(rows: list[dict], sums: list[list[float]]) -> list[str]:
    """The questions of which the two sides choose another option, by the sum or per character."""
    odd = []
    for row, theirs in zip(rows, sums, strict=True):
        lengths = [len(option) for option in row["options"]]
        per_character = [s / n for s, n in zip(theirs, lengths, strict=True)]
        for kind, scores in (("sum", theirs), ("per_character", per_character)):
            if row[f"choice_{kind}"] != "ABCD"[scores.index(max(scores))]:
                odd.append(f"{row['id']} ({kind})")
    return odd


@torch.inference_mode()
def exact(model: str, folder: Path, picked: list[tuple[int, int]]) -> list[float]:
    """Log-probabilities of options (question, option) by one plain pass each, in float64."""
    docs = [json.loads(line) for line in (folder / "docs.jsonl").open()]
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    found = []
    for question, option in picked:
        text, choice = docs[question]["text"], docs[question]["choices"][option]
        ids = tokenizer(f"{text} {choice}", return_tensors="pt")["input_ids"]
        start = len(tokenizer(text)["input_ids"])
        gains = network(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        found.append(float(gains[start - 1 :].sum()))
    return found


def check_sums(model: str, folder: Path, mine: list[list[float]], other: list[list[float]]) -> None:
    """Records the differences; SystemExit where ours are not those of float64."""
    by_difference = sorted(
        ((abs(a - b), question, option))
        for question, pair in enumerate(zip(mine, other, strict=True))
        for option, (a, b) in enumerate(zip(*pair, strict=True))
    )[::-1]
    apart = sum(difference > EQUAL for difference, _, _ in by_difference)
    picked = [place for _, *place in by_difference[: max(CHECKED, apart)]]
    reference = exact(model, folder, picked)
    off = {
        side: max(abs(sums[q][o] - r) for (q, o), r in zip(picked, reference, strict=True))
        for side, sums in (("ours", mine), ("lm_eval", other))
    }
    print(
        f"{len(by_difference)} options; largest difference of a log-probability: "
        f"{by_difference[0][0]:.1e}, more than {EQUAL} in {apart}; off from float64, of the "
        f"{len(picked)} that differ most: ours {off['ours']:.1e}, lm-eval's {off['lm_eval']:.1e}"
    )
    name = "multiple choice from files: off from float64 where the two differ most"
    record([Entry(name, off["ours"], 1.0, "log-probability", EQUAL, "lower")])
    if off["ours"] > EQUAL:
        raise SystemExit(f"log-probabilities differ from float64's by more than {EQUAL}")


def main() -> None:
    """Compares, and prints the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "data" / "demo" / "model"))
    model = parser.parse_args().model
    real = real_or_skip("f1_qa")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mine, metrics = ours(model, real, folder)
        other, accuracies = theirs(model, folder)
        check_sums(model, folder, [row["sums"] for row in mine], other)
    for kind in CHOICES:
        name = f"accuracy_{kind}"
        print(f"{name}: {metrics[name]:.6f}, lm-eval {accuracies[kind]:.6f}")
        if abs(metrics[name] - accuracies[kind]) > 1e-9:
            raise SystemExit(f"{name} differs from lm-eval's")
    if odd := differing(mine, other):
        raise SystemExit(f"{len(odd)} choices differ from lm-eval's: {', '.join(odd[:10])}")


if __name__ == "__main__":
    main()
