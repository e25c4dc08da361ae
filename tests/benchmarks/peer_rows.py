"""The rows and the random model that both sides of the training benchmark are given."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

SEED = 5
# As GSM8K under a 1.5 B model's tokenizer: tokens of a question with its chat frame, of an answer.
PROMPT, ANSWER = (130, 30, 70), (130, 50, 30)
SHAPES = {
    # About 30 million weights.
    "cpu": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
            "num_attention_heads": 8, "num_key_value_heads": 2},
    # Qwen2.5-1.5B.
    "cuda": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
             "num_attention_heads": 12, "num_key_value_heads": 2},
}  # fmt: skip


def make_folder(folder: Path, rows: int, vocabulary: int, device: str) -> Path:
    """`model/` and `train.parquet` (id, input_ids, labels) in `folder`."""
    torch.manual_seed(SEED)
    config = Qwen2Config(vocab_size=vocabulary, max_position_embeddings=2048,
                         tie_word_embeddings=device == "cuda", **SHAPES[device])  # fmt: skip
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    Qwen2ForCausalLM(config).to(dtype).save_pretrained(folder / "model")
    write_rows(folder, rows)
    return folder


def write_rows(folder: Path, rows: int) -> None:
    """`train.parquet` in `folder`."""
    rng = np.random.default_rng(SEED)
    table: dict[str, list] = {"id": [], "input_ids": [], "labels": []}
    for number, (prompt, answer) in enumerate(_lengths(rows)):
        # Low ids are frequent, as in text: so there is something to learn.
        ids = np.minimum(rng.zipf(1.2, prompt + answer) + 2, 8_191)
        table["id"].append(str(number))
        table["input_ids"].append(ids.tolist())
        table["labels"].append([-100] * prompt + ids[prompt:].tolist())
    pq.write_table(pa.table(table), folder / "train.parquet")


def _lengths(rows: int) -> list[tuple[int, int]]:
    """Prompt and answer lengths in tokens: GSM8K's where REAL_DATA_DIR has it, at about four
    characters a token; else drawn alike."""
    real = Path(os.environ.get("REAL_DATA_DIR", "")) / "gsm8k" / "train.jsonl"
    if "REAL_DATA_DIR" not in os.environ or not real.exists():
        rng = np.random.default_rng(SEED)
        pairs = [[m + rng.gamma((m - low) ** 2 / sd**2, sd**2 / (m - low)) - (m - low)
                  for m, sd, low in (PROMPT, ANSWER)] for _ in range(rows)]  # fmt: skip
        return [(int(p), int(a)) for p, a in pairs]
    items = [json.loads(line) for line in real.read_text(encoding="utf-8").splitlines()]
    chosen = random.Random(SEED).sample(items, rows)
    return [(50 + len(i["question"]) // 4, 3 + len(i["answer"]) // 3) for i in chosen]
