"""Four-option questions scored against lm-evaluation-harness at the best of its batch sizes.

    python tests/benchmarks/options_vs_lm_eval.py [--device cuda] [--questions 120] [--rounds 3]

Same random model, same questions, in one process and in turn. Runs in `.venv-bench`.
"""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the workflow's jobs

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from random_model import one_for_each, questions
from summary import ROOT, Entry, record
from turns import options_of, take_turns

sys.path.append(str(ROOT / "workflow" / "scripts"))
from snaketune.inference.engine import Engine
from snaketune.inference.options import Question, build_tree, score_trees

BATCHES = (1, 8, 16, 32)
HEAD = "You are a knowledgeable Formula 1 expert.\nAnswer the question briefly and accurately.\n\n"


def asked(count: int) -> list[Question]:
    """Questions with their options listed in the prompt."""
    out = []
    for number, item in enumerate(questions(count)):
        listed = "".join(f"{k}: {o}\n" for k, o in zip("ABCD", item["options"], strict=True))
        context = f"{HEAD}Question: {item['question']}\nOptions:\n{listed}Answer:"
        out.append(Question(str(number), context, [f" {o}" for o in item["options"]]))
    return out


def ours(model, tokenizer, items: list[Question]):
    """A function that scores all questions: a list of sums for each."""
    engine = Engine(model)

    def run() -> list[list[float]]:
        trees = [build_tree(tokenizer, q, plain=True) for q in items]
        scores = {s.index: s.sums for s in score_trees(model, engine, trees)}
        return [scores[i] for i in range(len(items))]

    return run


def theirs(model, tokenizer, items: list[Question], batch: int):
    """The same through lm-eval's `hf` model."""
    peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(q.context, option), idx=i)
        for q in items
        for i, option in enumerate(q.options)
    ]

    def run() -> list[list[float]]:
        flat = [value for value, _ in peer.loglikelihood(requests, disable_tqdm=True)]
        return [flat[i : i + 4] for i in range(0, len(flat), 4)]

    return run


def main() -> None:
    options = options_of(__doc__, "questions", 120)
    torch.set_num_threads(2)
    tokenizer, mine, other = one_for_each(options.device)
    items = asked(options.questions)
    sides = {"ours": ours(mine, tokenizer, items)}
    sides |= {f"lm-eval {b}": theirs(other, tokenizer, items, b) for b in BATCHES}
    seconds, results = take_turns(sides, options.rounds)
    best = min((s for s in sides if s != "ours"), key=seconds.get)
    error = max(
        abs(a - b)
        for one, two in zip(results["ours"], results[best], strict=True)
        for a, b in zip(one, two, strict=True)
    )
    print(f"lm-eval's best: {best}; largest difference of a log-probability: {error:.1e}")
    rate = {side: len(items) / seconds[side] for side in sides}
    where = "" if options.device == "cpu" else " (GPU)"
    bar = 4.0 if options.device == "cpu" else 1.0
    record(
        [
            Entry(f"options against lm-eval{where}", rate["ours"], rate[best], "questions/s", bar,
                  "higher"),
            Entry(f"options: difference from lm-eval{where}", error, 1.0, "log-probability",
                  1e-4 if options.device == "cpu" else 0.1, "lower"),
        ]
    )  # fmt: skip
    if options.device == "cpu" and error > 1e-4:
        raise SystemExit(f"log-probabilities differ from lm-eval's by {error:.1e}")


if __name__ == "__main__":
    main()
