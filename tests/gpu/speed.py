"""Speed and memory of one thing on one device; prints a line that begins with RESULT.

python tests/gpu/speed.py make SHAPE FOLDER      a random model of that shape, and rows
python tests/gpu/speed.py train FOLDER METHOD    tokens/s, share of the matrix rate, peak memory
python tests/gpu/speed.py generate FOLDER        behind a shared prefix, against `generate` by 16
python tests/gpu/speed.py long FOLDER            prompts of 8,000 tokens, NF4: memory beside weights
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from peer_rows import SHAPES, write_rows
from train_trial import matrix_rate
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from snaketune.config.model import ModelSpec, Preset
from snaketune.inference.backends.transformers import TransformersSession
from snaketune.models.load import load_model
from snaketune.training.assemble import TrainingPlan, prepare
from snaketune.training.batches import read_token_rows
from snaketune.training.parallel import World
from snaketune.training.step import take_step

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
LARGE = {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
         "num_attention_heads": 32, "num_key_value_heads": 8}  # fmt: skip
# Weights beside the vocabulary of 152 k; steps before the timed ones record the shapes that come.
MODELS = {"tiny": (TINY, 8_192), "1.5b": (SHAPES["cuda"], 151_936), "8b": (LARGE, 151_936)}
WARM_UP, TIMED = (14, 16) if GPU else (2, 2)
PREFIX, PROMPTS, NEW, LONG = (1400, 96, 64, 8000) if GPU else (100, 4, 4, 300)


def make(shape: str, folder: Path) -> None:
    sizes, vocabulary = MODELS[shape]
    torch.manual_seed(5)
    torch.set_default_dtype(torch.bfloat16 if GPU else torch.float32)
    with DEVICE:
        config = Qwen2Config(vocab_size=vocabulary, max_position_embeddings=16_384,
                             tie_word_embeddings=shape != "8b", **sizes)  # fmt: skip
        Qwen2ForCausalLM(config).save_pretrained(folder / "model")
    write_rows(folder, 1024 if GPU else 64)


def train(folder: Path, method: str) -> None:
    adapter = {} if method == "full" else {"lora": {"r": 16, "alpha": 32}}
    preset = Preset(method=method, batch_size=16, learning_rate=1e-5, schedule="constant",
                    gradient_checkpointing=False, **adapter)  # fmt: skip
    rows = read_token_rows(folder / "train.parquet")
    with tempfile.TemporaryDirectory() as work:
        plan = TrainingPlan(ModelSpec(id=str(folder / "model")), preset, seed=1)
        job = prepare(plan, rows, [], World(), Path(work), save_every=1e9)
        for step in range(WARM_UP):
            take_step(job, step)
        started = _clock()
        if GPU:
            torch.cuda.reset_peak_memory_stats()
        steps = range(WARM_UP, min(WARM_UP + TIMED, job.order.total_steps))
        tokens = sum(take_step(job, step)["tokens"] for step in steps)
        rate = tokens / (_clock() - started)
    model = job.loss.model
    table = model.get_input_embeddings().weight.numel()
    numbers = model.num_parameters() - (0 if model.config.tie_word_embeddings else table)
    share = (6 if method == "full" else 4) * numbers * rate / matrix_rate(DEVICE.type)
    print(f"RESULT {rate:,.0f} tokens/s, {share:.0%} of a large product's rate, {_peak()}, "
          f"{job.layout.kind}, graphs {bool(job.graphs)}, {job.kernels}")  # fmt: skip


def generate(folder: Path) -> None:
    session = _session(folder, "none")
    rng = np.random.default_rng(1)
    prefix = rng.integers(5, 8000, PREFIX).tolist()
    own = [rng.integers(5, 8000, n).tolist() for n in rng.integers(40, 90, PROMPTS)]
    prompts = [prefix + tokens for tokens in own]
    _replies(session, prompts[:8], 4)
    started = _clock()
    ours = sum(map(len, _replies(session, prompts, NEW))) / (_clock() - started)
    model = session.model
    model.set_attn_implementation("sdpa")
    config = GenerationConfig(max_new_tokens=NEW, min_new_tokens=NEW, eos_token_id=[0],
                              pad_token_id=0, do_sample=False)  # fmt: skip
    rows = prompts[:16]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(r)) + r for r in rows], device=DEVICE)
    mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=DEVICE)
    started = _clock()
    out = model.generate(ids, attention_mask=mask, generation_config=config)
    theirs = out[:, width:].numel() / (_clock() - started)
    print(f"RESULT {ours:,.0f} tokens/s, `generate` by 16 {theirs:,.0f}: {ours / theirs:.1f} times")


def long(folder: Path) -> None:
    session = _session(folder, "nf4")
    prompts = [np.random.default_rng(i).integers(5, 8000, LONG).tolist() for i in range(2)]
    held = torch.cuda.memory_allocated() if GPU else 0
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    started = _clock()
    _replies(session, prompts, 16)
    taken = (torch.cuda.max_memory_allocated() - held) / 1e9 if GPU else 0.0
    print(f"RESULT 2 prompts of {LONG} tokens in {_clock() - started:.1f} s, {taken:.2f} GB beside "
          f"{held / 1e9:.2f} GB of weights")  # fmt: skip


def _session(folder: Path, quantisation: str) -> TransformersSession:
    model = load_model(ModelSpec(id=str(folder / "model")), quantisation, DEVICE)
    return TransformersSession("random", None, [0], 16_384, model)


def _replies(session: TransformersSession, prompts: list, new: int) -> list[list[int]]:
    ids = [str(i) for i in range(len(prompts))]
    return [text.tokens for text in session.replies(prompts, new, "auto", None, None, ids)]


def _clock() -> float:
    if GPU:
        torch.cuda.synchronize()
    return time.monotonic()


def _peak() -> str:
    return f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most" if GPU else "on the CPU"


if __name__ == "__main__":
    what, first, *second = sys.argv[1:]
    if what == "make":
        make(first, Path(second[0]))
    elif what == "train":
        train(Path(first), second[0])
    else:
        {"generate": generate, "long": long}[what](Path(first))
