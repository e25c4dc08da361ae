"""Pretrained models and real text, where this machine has them; else tests skip and say why."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from snaketune.config.model import ModelSpec

HERE = Path(__file__).parent
MODELS = {"instruct": "REAL_MODEL_DIR", "base": "REAL_BASE_MODEL_DIR"}
TEMPLATES = {"instruct": None, "base": str(HERE / "gemma.jinja")}
"""A base model comes without a template."""


def pretrained(kind: str) -> ModelSpec:
    """The model of this kind, under a template."""
    variable = MODELS[kind]
    folder = os.environ.get(variable, "")
    if not Path(folder, "model.safetensors").is_file():
        pytest.skip(f"no pretrained model: {variable} names no folder with model.safetensors")
    return ModelSpec(id=folder, chat_template=TEMPLATES[kind])


def real_data() -> Path:
    """The folder with the real data."""
    folder = os.environ.get("REAL_DATA_DIR", "")
    if not Path(folder).is_dir() or not folder:
        pytest.skip("no real data: REAL_DATA_DIR names no folder")
    return Path(folder)


def problems() -> Iterator[dict[str, str]]:
    """GSM8K's test split."""
    lines = (real_data() / "gsm8k/test.jsonl").read_text(encoding="utf-8").splitlines()
    return map(json.loads, lines)


def instructions() -> Iterator[dict[str, str]]:
    """Dolly's, the first 1,000."""
    with (real_data() / "dolly/train.csv").open(newline="", encoding="utf-8-sig") as file:
        yield from csv.DictReader(file)


def plain_tokenizer(spec: ModelSpec) -> Any:
    """Of transformers, with the template."""
    tokenizer = AutoTokenizer.from_pretrained(spec.id)
    if spec.chat_template:
        tokenizer.chat_template = Path(spec.chat_template).read_text(encoding="utf-8")
    return tokenizer


def real_rows(spec: ModelSpec, places: int, longest: int = 128) -> list[list[int]]:
    """Tokens of problems with their solutions and of instructions with their replies, by turns,
    until they have at least so many places."""
    tokenizer, rows = plain_tokenizer(spec), []
    for problem, task in zip(problems(), instructions(), strict=False):
        for asked, said in (
            (problem["question"], problem["answer"]),
            (task["original-instruction"], task["original-response"]),
        ):
            rows.append(tokenizer(f"{asked}\n{said}")["input_ids"][:longest])
            if sum(map(len, rows)) >= places:
                return rows
    raise AssertionError(f"found {sum(map(len, rows))} places, expected {places}")
