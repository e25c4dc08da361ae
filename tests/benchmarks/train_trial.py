"""One side of one trial of `train_vs_trl.py`: prints a JSON line of figures."""

import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from train_vs_trl import BATCH, PEERS
from transformers import AutoModelForCausalLM

RATE = 1e-3
# Rows of a training before the one that is timed, on a GPU: its libraries choose and compile then.
WARM_UP = 4 * BATCH
# Rows that the loss after the epoch is taken over.
JUDGED = 64
# Packs of 2,048 tokens a step that hold about as many rows as the others' batches.
PACKED_STEP = 2
LORA = {"r": 16, "alpha": 32}


def ours(folder: Path, method: str, count: int) -> tuple[np.ndarray, torch.nn.Module]:
    """Seconds of the training loop (wall, CPU) over the first `count` rows, and the model with its
    adapter."""
    from snaketune.config.model import ModelSpec, Preset
    from snaketune.training.assemble import TrainingPlan, prepare
    from snaketune.training.batches import read_token_rows
    from snaketune.training.loop import take_remaining_steps
    from snaketune.training.parallel import World

    preset = Preset(method=method, batch_size=BATCH, learning_rate=RATE, schedule="constant",
                    gradient_checkpointing=False, lora=LORA)  # fmt: skip
    plan = TrainingPlan(ModelSpec(id=str(folder / "model")), preset, seed=1)
    rows = read_token_rows(folder / "train.parquet")[:count]
    with tempfile.TemporaryDirectory() as work:
        job = prepare(plan, rows, [], World(), Path(work), save_every=60)
        return _time(take_remaining_steps, job), job.loss.model


def peer(
    side: str, folder: Path, method: str, device: str, count: int
) -> tuple[np.ndarray, torch.nn.Module]:
    """The same of TRL, in the setting `side`."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    size, by_length, packing = PEERS[side]
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=dtype, device_map={"": device},
        quantization_config=quantised if method == "qlora" else None,
    )  # fmt: skip
    rows = Dataset.from_parquet(str(folder / "train.parquet")).remove_columns("id")
    rows = rows.select(range(count))
    settings = SFTConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=size,
        gradient_accumulation_steps=PACKED_STEP if packing else BATCH // size,
        learning_rate=RATE, num_train_epochs=1,
        lr_scheduler_type="constant", gradient_checkpointing=False, packing=packing,
        train_sampling_strategy="group_by_length" if by_length else "random", max_length=2048,
        bf16=device == "cuda", use_cpu=device == "cpu", save_strategy="no", report_to="none",
        logging_steps=1, disable_tqdm=True, max_grad_norm=1.0,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=rows, processing_class=_tokenizer(),
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=LORA["r"], lora_alpha=LORA["alpha"],
                               target_modules="all-linear"),
    )  # fmt: skip
    return _time(trainer.train), trainer.model


def _tokenizer():
    """TRL wants a tokenizer even for rows that are ids already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<end>": 0}, unk_token="<end>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>")


def _time(work: Callable, *arguments: object) -> np.ndarray:
    started = _clock()
    work(*arguments)
    return _clock() - started


def _clock() -> np.ndarray:
    """Seconds on the wall and of the CPU, when the device has done all its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return np.array([time.monotonic(), time.process_time()])


@torch.no_grad()
def loss_after(model: torch.nn.Module, rows: list[dict]) -> float:
    """Loss per labelled token over the first rows, one at a time: the same ruler for both."""
    model.eval()
    total, count = 0.0, 0
    for row in rows[:JUDGED]:
        ids = torch.tensor([row["input_ids"]], device=model.device)
        labels = torch.tensor(row["labels"], device=model.device)[1:]
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        learned = labels != -100
        total += float(
            torch.nn.functional.cross_entropy(logits[learned], labels[learned], reduction="sum")
        )
        count += int(learned.sum())
    return total / count


def matrix_rate(device: str) -> float:
    """Floating-point operations a second of a large matrix product: the best of five."""
    size, dtype = (8192, torch.bfloat16) if device == "cuda" else (2048, torch.float32)
    a = torch.randn(size, size, dtype=dtype, device=device)
    times = []
    for _ in range(6):
        times.append(_time(torch.matmul, a, a)[0])
    return 2 * size**3 / min(times[1:])


def main(side: str, folder: Path, method: str, device: str) -> None:
    """Trains, measures, prints."""
    rows = pq.read_table(folder / "train.parquet").to_pylist()
    tokens = sum(len(row["input_ids"]) for row in rows)

    def train(count: int) -> tuple[np.ndarray, torch.nn.Module]:
        if side == "ours":
            return ours(folder, method, count)
        return peer(side, folder, method, device, count)

    if device == "cuda":
        train(WARM_UP)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    took, model = train(len(rows))
    seconds = took[0]
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else \
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # fmt: skip
    weights = sum(p.numel() for n, p in model.named_parameters() if "lora_" not in n and p.ndim > 1)
    table = model.get_input_embeddings().weight.numel()
    # Forward and backward through the frozen weights; looking up an embedding is no product.
    operations = 4 * (_unpacked(folder) - table) * tokens
    print(json.dumps({
        "tokens_per_second": tokens / seconds, "cpu_seconds": took[1], "peak_memory": peak,
        "loss": loss_after(model, rows), "rate": operations / seconds,
        "matrix_rate": matrix_rate(device), "weights": weights,
    }))  # fmt: skip


def _unpacked(folder: Path) -> int:
    """Weights of the model's products and embeddings, however they are held in training."""
    model = AutoModelForCausalLM.from_pretrained(folder / "model", device_map="meta")
    return sum(p.numel() for p in model.parameters() if p.ndim > 1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4])
