"""A run's optimiser steps in plain torch, transformers and PEFT: the first thing to read.

    python docs/one_step.py results/demo simple            # every step of the run `simple`
    python docs/one_step.py results/demo simple --steps 5

It trains what the workflow trained, from the same rows, with nothing of snaketune, and prints each
step's loss beside the one in the run's train_log.parquet. The workflow (training/ in the library)
takes the same steps faster: it pads rows of like length together, makes logits only where a token
is learned, and has one autograd node for a layer and its adapter. None of that may change a result.
It doesn't: in float32 on a CPU all 72 losses of the demo's `simple` (qlora) and all 35 of its
`verifier` (lora) agree to a relative 2.3e-06, as sums taken in another order do; ten of `strong`,
at twice the rate, to 8.6e-06. (Under adapter dropout, drawn by place, in the mean only.)

Shapes: B rows of a micro-batch, T tokens of its longest row, V vocabulary.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

IGNORED = -100  # a label that carries no loss

Row = tuple[np.ndarray, np.ndarray]  # input_ids [T] and labels [T]


def read_run(results: Path, name: str) -> tuple[dict, dict, list[Row]]:
    """The run's meta, the model's entry in the config, and the training rows."""
    meta = json.loads((results / "train" / name / "train_meta.json").read_text())
    config = yaml.safe_load((results / "config.yaml").read_text())
    model = next(m for m in config["models"].values() if m["id"] == meta["model"])
    # Rows are known by their content: runs of one model, dataset, prompt and limits share a folder.
    for file in sorted((results / "tokens").glob("*/train.parquet")):
        if hashlib.sha256(file.read_bytes()).hexdigest() == meta["train_sha256"]:
            return meta, model, read_rows(file)
    raise SystemExit(f"found no tokens/*/train.parquet of the run {name} in {results}")


def read_rows(file: Path) -> list[Row]:
    """Token ids and labels as `tokenize` wrote them, each [T].

    labels[t] is input_ids[t] where the token is part of the reply, and IGNORED where it is part of
    the prompt: the prompt is given at evaluation, so nothing is gained by learning to write it. The
    end token behind the reply is learned too: without it a model talks on until it is cut off.
    """
    rows = pq.read_table(file).to_pylist()
    return [(np.array(row["input_ids"]), np.array(row["labels"])) for row in rows]


def build_model(spec: dict, meta: dict) -> nn.Module:
    """The base model, frozen and perhaps in 4 bits, with a fresh adapter on its linear layers."""
    preset, dtype = meta["settings"]["preset"], getattr(torch, meta["dtype"])
    qlora, full = preset["method"] == "qlora", preset["method"] == "full"
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        # The scales of the 64-weight blocks are quantised themselves: 0.37 bit a weight less.
        bnb_4bit_use_double_quant=spec["double_quantisation"],
        # Weights are expanded to this dtype for each product; 4 bits are how they are stored.
        bnb_4bit_compute_dtype=dtype,
    )
    base = AutoModelForCausalLM.from_pretrained(
        spec["id"],
        revision=spec["revision"],
        trust_remote_code=spec["trust_remote_code"],
        # Small updates vanish in 16 bits: where all weights are trained they are float32.
        dtype=torch.float32 if full else dtype,
        quantization_config=nf4 if qlora else None,
        device_map={"": meta["device"]},
    )
    if full:
        return base.train()
    # B begins at zero, so that the model begins as its base, and A is drawn. It is drawn here and
    # nowhere else: whoever sets the seed before anything but this line gets another training.
    torch.manual_seed(meta["seed"])
    lora = preset["lora"]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["targets"],  # all-linear: every linear layer but the output head
        use_rslora=lora["rslora"],
        use_dora=lora["dora"],
    )
    # A [r, in] and B [out, r] are float32 whatever the base is, as with `full` above.
    return get_peft_model(base, config, autocast_adapter_dtype=True).train()


def build_optimizer(model: nn.Module, preset: dict) -> torch.optim.Optimizer:
    """AdamW. Matrices decay; biases and norms do not: zero is no better guess for a scale."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = {
        "params": [p for p in trained if p.ndim > 1],
        "weight_decay": preset["weight_decay"],
    }
    vectors = {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}
    return torch.optim.AdamW([g for g in (matrices, vectors) if g["params"]], fused=True)


def rows_by_step(rows: int, preset: dict, seed: int) -> list[np.ndarray]:
    """Row numbers of each step. Every epoch is a permutation of its own, so that each row is seen
    once before any is seen twice. What is left over at an epoch's end makes a smaller step, rather
    than being dropped or filled up from the next epoch; the last epoch may be a part of one."""
    batch = preset["batch_size"] * preset["accumulation"]
    left, steps = max(1, round(preset["epochs"] * rows)), []
    for epoch in range(math.ceil(left / rows)):
        order = np.random.default_rng([seed, epoch]).permutation(rows)[:left]
        steps += [order[start : start + batch] for start in range(0, len(order), batch)]
        left -= rows
    return steps[: preset["max_steps"]]


def learning_rate(step: int, total: int, preset: dict) -> float:
    """Up to the peak in equal parts, then down. Step 0 has the first part, not 0: a rate of 0 would
    waste its rows. The decay reaches 0 behind the last step, for the same reason."""
    peak, warmup = preset["learning_rate"], math.ceil(preset["warmup_ratio"] * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if preset["schedule"] == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    return peak * (1 - done) if preset["schedule"] == "linear" else peak


def summed_loss(model: nn.Module, rows: list[Row], device: str) -> torch.Tensor:
    """Cross-entropy summed over the rows' learned tokens [], in float32."""
    lengths = [len(ids) for ids, _ in rows]
    input_ids = torch.zeros(len(rows), max(lengths), dtype=torch.long)  # [B, T], padded with 0
    labels = torch.full_like(input_ids, IGNORED)  # [B, T]
    for number, (ids, wanted) in enumerate(rows):
        input_ids[number, : len(ids)] = torch.from_numpy(ids)
        labels[number, : len(ids)] = torch.from_numpy(wanted)
    # By length, not by `input_ids != pad`: in many tokenizers pad is the end token, and a mask by
    # id would hide the one that has to be learned. So any id will do as padding.
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]  # [B, T]
    output = model(input_ids=input_ids.to(device), attention_mask=mask.to(device), use_cache=False)
    # Position t predicts token t + 1: the last position predicts nothing, the first token is given.
    logits = output.logits[:, :-1].flatten(0, 1).float()  # [B·(T-1), V]
    targets = labels[:, 1:].flatten().to(device)  # [B·(T-1)]
    return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")


def take_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, rows: list[Row], preset: dict, device: str
) -> float:
    """One optimiser step on the mean loss over all learned tokens of `rows`, which it returns."""
    # Sums over micro-batches are divided by the whole step's count, so every token weighs the same.
    # Means of means would weigh those of short replies more, and change with `accumulation`.
    learned = sum(int((labels[1:] != IGNORED).sum()) for _, labels in rows)
    total = 0.0
    for start in range(0, len(rows), preset["batch_size"]):
        loss = summed_loss(model, rows[start : start + preset["batch_size"]], device)
        (loss / learned).backward()  # gradients add up until the optimiser takes them
        total += float(loss.detach())
    # One rare row must not throw the model far off: a longer gradient is cut to this length.
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(trained, preset["max_grad_norm"])
    optimizer.step()
    optimizer.zero_grad()
    return total / learned


def train(results: Path, name: str, most: int | None) -> Iterator[tuple[int, float]]:
    """Number (from 1) and loss of each step."""
    meta, spec, rows = read_run(results, name)
    preset, seed = meta["settings"]["preset"], meta["seed"]
    model = build_model(spec, meta)
    optimizer = build_optimizer(model, preset)
    steps = rows_by_step(len(rows), preset, seed)
    for step, numbers in enumerate(steps[:most]):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(steps), preset)
        chosen = [rows[number] for number in numbers]
        yield step + 1, take_step(model, optimizer, chosen, preset, meta["device"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, help="such as results/demo")
    parser.add_argument("run", help="such as simple")
    parser.add_argument("--steps", type=int, help="so many at most")
    asked = parser.parse_args()
    log = pq.read_table(asked.results / "train" / asked.run / "train_log.parquet").to_pylist()
    logged = {row["step"]: row["loss"] for row in log if row["loss"] is not None}
    print("step      here  workflow  relative difference")
    for step, loss in train(asked.results, asked.run, asked.steps):
        off = abs(loss - logged[step]) / logged[step]
        print(f"{step:4} {loss:9.6f} {logged[step]:9.6f}  {off:.1e}", flush=True)
