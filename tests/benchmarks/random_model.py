"""The random chat model and the texts that both sides of the inference benchmarks are given."""

import json
import os
import random
import tempfile
from pathlib import Path

import torch
from peer_rows import SHAPES
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

SEED, VOCABULARY = 5, 8192
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
NAMES = ["Silva", "Okafor", "Meyer", "Tanaka", "Novak", "Larsen", "Rossi", "Dubois", "Khan", "Ruiz"]
PLACES = ["Ostend", "Kobe", "Turin", "Salta", "Leeds", "Tromso", "Porto", "Gdansk", "Quito", "Bari"]


def make_model(folder: Path, device: str = "cpu") -> Path:
    """Model and tokenizer in `folder`. The weights are wide enough that the most likely token is
    clearly so, and one token in fifty ends a reply: so replies are of mixed length."""
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    ends = random.Random(SEED).sample(range(len(SPECIAL), VOCABULARY), VOCABULARY // 50)
    torch.manual_seed(SEED)
    config = Qwen2Config(
        vocab_size=VOCABULARY if device == "cpu" else 151_936,
        max_position_embeddings=4096,
        tie_word_embeddings=device == "cuda",
        initializer_range=0.05,
        eos_token_id=[0, 2, *ends],
        pad_token_id=0,
        bos_token_id=None,
        **SHAPES[device],
    )
    model = Qwen2ForCausalLM(config).to(torch.bfloat16 if device == "cuda" else torch.float32)
    model.save_pretrained(folder)
    return folder


def one_for_each(
    device: str,
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, PreTrainedModel]:
    """The tokenizer, and the model twice: one for each side."""
    with tempfile.TemporaryDirectory() as name:
        folder = make_model(Path(name), device)
        first, second = (
            AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device).eval()
            for _ in range(2)
        )
        return AutoTokenizer.from_pretrained(folder), first, second


def _tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    texts = [q["question"] for q in questions(10_000)] + [p["question"] for p in problems(10_000)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def real(*parts: str) -> Path | None:
    """A file or folder of REAL_DATA_DIR, where it is set."""
    root = os.environ.get("REAL_DATA_DIR")
    path = Path(root, *parts) if root else None
    return path if path and path.exists() else None


def questions(count: int) -> list[dict]:
    """Four-option questions: `question`, `options`. Real Formula 1 ones, else generated."""
    folder = real("f1_qa")
    rng = random.Random(SEED)
    if folder is None:
        return [_made_question(rng) for _ in range(count)]
    found = []
    for file in sorted(folder.glob("*.json")):
        for pair in json.loads(file.read_text(encoding="utf-8"))["qa_pairs"]:
            options = [pair["correct_answer"], *pair["wrong_options"]]
            rng.shuffle(options)
            found.append({"question": pair["question"], "options": options})
    rng.shuffle(found)
    return found[:count]


def _made_question(rng: random.Random) -> dict:
    names, place, year = rng.sample(NAMES, 4), rng.choice(PLACES), rng.randint(1950, 2020)
    text = f"Who won the {year} race in {place} after {rng.randint(2, 90)} laps in the lead?"
    return {"question": text, "options": [f"{n} of {rng.choice(PLACES)}" for n in names]}


def problems(count: int) -> list[dict]:
    """Math problems: `question`, `answer`. GSM8K's, else generated."""
    file = real("gsm8k", "train.jsonl")
    if file is not None:
        lines = file.read_text(encoding="utf-8").splitlines()[:count]
        return [json.loads(line) for line in lines]
    rng = random.Random(SEED)
    return [_made_problem(rng) for _ in range(count)]


def _made_problem(rng: random.Random) -> dict:
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    a, b, c = (rng.randint(2, 90) for _ in range(3))
    story = [f"{name} has {a} crates in {place}.", f"A cart brings {b} more every day."]
    story += [
        f"On day {d} a fair is held in {rng.choice(PLACES)}." for d in range(rng.randint(0, 6))
    ]
    question = " ".join([*story, f"How many crates are there after {c} days?"])
    answer = f"{b} * {c} = {b * c}\n{a} + {b * c} = {a + b * c}\n#### {a + b * c}"
    return {"question": question, "answer": answer}
