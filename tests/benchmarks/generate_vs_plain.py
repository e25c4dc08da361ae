"""Greedy generation behind an 8-shot prefix, and 8 samples a prompt, against plain `generate`.

    python tests/benchmarks/generate_vs_plain.py [--device cuda] [--prompts 48] [--rounds 3]

Same random model, same prompts, in one process and in turn: `generate` at batch 4, at the best of
several batch sizes, and with `num_return_sequences=8`. Greedy tokens must be equal.
"""

import os
import sys
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the workflow's jobs

import torch
from random_model import one_for_each, problems
from summary import ROOT, Entry, record
from transformers import GenerationConfig
from turns import options_of, take_turns

sys.path.append(str(ROOT / "workflow" / "scripts"))
from snaketune.inference.backends.transformers import TransformersSession
from snaketune.inference.pick import Sampling
from snaketune.prompts.form import Form, chat_opening, opening_tokens

FORM = Form("open_qa")
SHOTS, SAMPLES, NEW = 8, 8, 96
BATCHES = (4, 8, 16, 32)
TEMPERATURE, TOP_P = 0.7, 0.95
Replies = dict[tuple[int, int], list[int]]


def conversations(count: int, shots: int) -> list[list[dict[str, str]]]:
    """Math questions behind the same worked examples."""
    items = problems(shots + count)
    before = [{"role": "system", "content": "Solve the problem step by step."}]
    for item in items[:shots]:
        before.append({"role": "user", "content": item["question"]})
        before.append({"role": "assistant", "content": item["answer"]})
    return [[*before, {"role": "user", "content": i["question"]}] for i in items[shots:]]


def ours(
    session: TransformersSession, prompts: list[list[int]], samples: int, batch: int | str = "auto"
) -> Callable[[], Replies]:
    """The engine's replies by prompt and sample; without their end tokens."""
    sampling = Sampling(TEMPERATURE, TOP_P, seed=0) if samples > 1 else None
    numbers, ids = [list(range(samples))] * len(prompts), [str(i) for i in range(len(prompts))]

    def run() -> Replies:
        found = session.replies(prompts, NEW, batch, sampling, numbers, ids)
        return {(text.index, text.sample): text.tokens for text in found}

    return run


def plain(
    model, prompts: list[list[int]], ends: list[int], samples: int, batch: int
) -> Callable[[], Replies]:
    """The same from `generate`, prompts padded on the left."""
    sampling = {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=NEW,
        eos_token_id=ends,
        pad_token_id=0,
        num_return_sequences=samples,
        **(sampling if samples > 1 else {"do_sample": False}),
    )

    def replies(start: int) -> Replies:
        rows = prompts[start : start + batch]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(r)) + r for r in rows], device=model.device)
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
        out = model.generate(ids, attention_mask=mask.to(model.device), generation_config=config)[
            :, width:
        ]
        return {
            (start + i // samples, i % samples): _ended(row, ends)
            for i, row in enumerate(out.tolist())
        }

    def run() -> Replies:
        found: Replies = {}
        for start in range(0, len(prompts), batch):
            found |= replies(start)
        return found

    return run


def _ended(tokens: list[int], ends: list[int]) -> list[int]:
    return next((tokens[:i] for i, t in enumerate(tokens) if t in ends), tokens)


def main() -> None:
    options = options_of(__doc__, "prompts", 48)
    torch.set_num_threads(2)
    tokenizer, mine, other = one_for_each(options.device)
    ends = other.config.eos_token_id
    session = TransformersSession("random", tokenizer, ends, 4096, mine)
    where = "" if options.device == "cpu" else " (GPU)"
    greedy_entries(session, other, options, where)
    sample_entry(session, other, options, where)


def prompts_of(session: TransformersSession, turns: list) -> list[list[int]]:
    """The tokens of prompts, as a job makes them."""
    asked = [chat_opening(session.tokenizer, one, FORM, "random") for one in turns]
    return opening_tokens(session.tokenizer, asked)


def greedy_entries(session: TransformersSession, other, options, where: str) -> None:
    """Greedy replies behind the worked examples."""
    prompts = prompts_of(session, conversations(options.prompts, SHOTS))
    sides = {"ours": ours(session, prompts, 1)}
    batches = [b for b in BATCHES if b <= options.prompts]
    sides |= {f"generate {b}": plain(other, prompts, session.ends, 1, b) for b in batches}
    seconds, results = take_turns(sides, options.rounds)
    lengths = sorted(map(len, results["ours"].values()))
    print(f"{session.prefix} prefix tokens; replies of {lengths[0]} to {lengths[-1]} tokens")
    for side in sides:
        equal = sum(results["ours"][key] == tokens for key, tokens in results[side].items())
        print(f"{side}: {equal} of {len(prompts)} replies equal to ours")
    if options.device == "cpu" and results["ours"] != results["generate 4"]:
        raise SystemExit("greedy tokens differ from `generate` at batch 4")
    tokens = sum(lengths)
    best = min((s for s in sides if s != "ours"), key=seconds.get)
    rate = {side: tokens / seconds[side] for side in sides}
    record(
        [
            Entry(f"generation against generate at batch 4{where}", rate["ours"],
                  rate["generate 4"], "tokens/s", 4.0, "higher"),
            Entry(f"generation against generate at its best batch{where}", rate["ours"],
                  rate[best], "tokens/s", 1.5, "higher"),
        ]
    )  # fmt: skip


def sample_entry(session: TransformersSession, other, options, where: str) -> None:
    """Eight samples of each prompt, without worked examples; tokens/s, because samples differ."""
    count = max(4, options.prompts // 4)
    prompts = prompts_of(session, conversations(count, 0))
    sides = {"ours": ours(session, prompts, SAMPLES)}
    sides |= {
        f"generate {b} x {SAMPLES}": plain(other, prompts, session.ends, SAMPLES, b)
        for b in (1, 4, 8)
    }
    seconds, results = take_turns(sides, options.rounds)
    rate = {side: sum(map(len, results[side].values())) / seconds[side] for side in sides}
    best = max((s for s in sides if s != "ours"), key=rate.get)
    print(f"best of num_return_sequences: {best}")
    record(
        [
            Entry(f"8 samples against num_return_sequences{where}", rate["ours"], rate[best],
                  "tokens/s", 1.5, "higher"),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
