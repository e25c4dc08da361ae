"""Tiny models and rows for the tests of training: made in memory, from seeds."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from snaketune.prompts.rows import IGNORED
from snaketune.prompts.tokenise import SCHEMA
from snaketune.training.batches import TokenRow

VOCABULARY = 97


def make_model(**changes: object) -> Qwen2ForCausalLM:
    """A random Qwen2 of two layers, always the same one."""
    torch.manual_seed(7)
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    return Qwen2ForCausalLM(Qwen2Config(**shape | changes)).eval()


def save_model(folder: Path, **changes: object) -> Path:
    """`make_model` as a folder."""
    make_model(**changes).save_pretrained(folder)
    return folder


def make_rows(count: int, longest: int = 40, seed: int = 0) -> list[TokenRow]:
    """Rows of random tokens; the second part of each carries loss."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        ids = rng.integers(3, VOCABULARY, rng.integers(4, longest + 1))
        labels = ids.copy()
        labels[: int(rng.integers(1, len(ids) - 1))] = IGNORED
        rows.append(TokenRow(f"row-{number}", ids, labels))
    return rows


def make_labelled(count: int, seed: int = 0) -> list[TokenRow]:
    """Rows of a classification: random tokens, a label that follows from the first of them, of one
    token or of two, and the end token. Something to learn, and not in a few steps."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        text = rng.integers(20, VOCABULARY, rng.integers(3, 12))
        label = [[10], [11], [12, 13]][text[0] % 3]
        ids = np.array([*text, *label, 2])
        labels = np.array([IGNORED] * len(text) + [*label, 2])
        rows.append(TokenRow(f"labelled-{number}", ids, labels))
    return rows


def write_rows(path: Path, rows: list[TokenRow]) -> Path:
    """The rows as `tokenise` writes them."""
    columns = {
        "id": [row.id for row in rows],
        "input_ids": [row.input_ids.tolist() for row in rows],
        "labels": [row.labels.tolist() for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=SCHEMA), path)
    return path
