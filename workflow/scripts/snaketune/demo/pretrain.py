"""Makes the demo's tokenizer and trains small Qwen2 models on conversations, from scratch or
further, on the CPU.

The tokenizer is byte-level BPE, each digit a token, with two chat templates.
Shapes: B rows of a batch, T tokens of the longest row, D hidden, V vocabulary, L labelled tokens.
"""

import math
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from snaketune.demo.conversations import conversations
from snaketune.demo.problems import make_problems
from snaketune.demo.verdicts import known_verdict
from snaketune.runtime.job import Progress

IGNORED = -100

# Token ids, and the same with IGNORED in place of every token that carries no loss.
Row = tuple[list[int], list[int]]

PAD = "<|endoftext|>"
START = "<|im_start|>"
END = "<|im_end|>"
THINK = ("<think>", "</think>")
# What the judge's answer follows when it is not to think.
EMPTY_THOUGHT = "<think>\n\n</think>\n\n"

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

# Words with their leading space, single digits, runs of signs, white space: as Qwen2 splits.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_TURNS = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
"""

# ChatML as Qwen2.5 writes it: no generation marks, and no default system prompt.
CHAT_TEMPLATE = f"{_TURNS}{{%- endif %}}\n"

# As Qwen3 has it: without thinking the answer starts after an empty thought.
THINKING_TEMPLATE = f"""\
{_TURNS}\
    {{%- if enable_thinking is defined and enable_thinking is false %}}
        {{{{- '<think>\\n\\n</think>\\n\\n' }}}}
    {{%- endif %}}
{{%- endif %}}
"""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE over `texts`, whose 256 bytes are all in the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=10,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Single tokens, but not special ones: a decoded answer shows them, as with Qwen3.
    tokenizer.add_tokens([AddedToken(mark, normalized=False, special=False) for mark in THINK])
    return tokenizer


def as_transformers(tokenizer: Tokenizer, chat_template: str) -> PreTrainedTokenizerFast:
    """The tokenizer as a `transformers` one. Padding is not an end token; there is no BOS."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        chat_template=chat_template,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


def tokenizer_texts(guideline: str, seed: int) -> list[str]:
    """What both models read: the base's conversations, answers to judge, and task problems.

    The problems are drawn from the seed, so they are not those of the shipped files.
    """
    rng = random.Random(seed)
    said = [message["content"] for talk in conversations(4000, seed) for message in talk]
    judged = [known_verdict(rng).response for _ in range(2000)]
    problems = [text for row in make_problems(1000, seed) for text in row.values()]
    # The guideline as often as makes each of its words a token.
    return said + judged + problems + [guideline] * 50


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train. `batch_tokens` counts the padding."""

    steps: int
    learning_rate: float
    batch_tokens: int
    seed: int


def build_model(tokenizer: Tokenizer, layers: int, hidden: int, seed: int) -> Qwen2ForCausalLM:
    """A new model, drawn from `seed`; widths are multiples of 64, NF4's block."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
        initializer_range=0.04,
    )
    return Qwen2ForCausalLM(config)


def encode_conversation(
    tokenizer: Tokenizer, messages: Sequence[dict[str, str]], lead: str = ""
) -> Row:
    """A conversation as ChatML tokens; assistants' words and their end token carry the loss.

    `lead` stands before the last assistant's words and carries no loss.
    """
    ids: list[int] = []
    labels: list[int] = []

    def add(text: str, learned: bool) -> None:
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        ids.extend(tokens)
        labels.extend(tokens if learned else [IGNORED] * len(tokens))

    for message in messages:
        learned = message["role"] == "assistant"
        add(f"{START}{message['role']}\n", False)
        if lead and message is messages[-1]:
            add(lead, False)
        add(f"{message['content']}{END}", learned)
        add("\n", False)
    return ids, labels


def pad_rows(rows: Sequence[Row], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded on the right: input ids and labels, each [B, T]."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), longest), pad_id)
    labels = torch.full((len(rows), longest), IGNORED)
    for place, (row_ids, row_labels) in enumerate(rows):
        ids[place, : len(row_ids)] = torch.tensor(row_ids)
        labels[place, : len(row_labels)] = torch.tensor(row_labels)
    return ids, labels


def batches_by_length(
    draw: Callable[[random.Random], Row], batch_tokens: int, seed: int, pool: int = 512
) -> Iterator[list[Row]]:
    """Endless batches of rows of like length, none used twice.

    Rows are drawn `pool` at a time and sorted by length, so that little of a batch is padding.
    """
    rng = random.Random(seed)
    while True:
        rows = sorted((draw(rng) for _ in range(pool)), key=lambda row: len(row[0]))
        groups: list[list[Row]] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row[0]) > batch_tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        yield from groups


def answer_loss(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the labelled tokens; logits are made at these alone.

    Needs no attention mask: padding stands on the right, where no real token looks.
    """
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]  # [B, T-1, D]
    targets = labels[:, 1:]  # [B, T-1]
    learned = targets != IGNORED
    # [L, V] logits instead of [B, T-1, V]: most of a batch is questions.
    return torch.nn.functional.cross_entropy(model.lm_head(states[learned]), targets[learned])


def train(
    model: PreTrainedModel,
    draw: Callable[[random.Random], Row],
    recipe: Recipe,
    loss_of: Callable[[PreTrainedModel, torch.Tensor, torch.Tensor], torch.Tensor] = answer_loss,
    groups: list[dict] | None = None,
) -> None:
    """Train in place: AdamW, a short warm-up, then a cosine down to a tenth. `groups` are AdamW's,
    for parameters that have a learning rate of their own."""
    optimizer = torch.optim.AdamW(
        groups or model.parameters(),
        fused=True,
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.02,
    )

    def pace(step: int) -> float:
        warm = min(1.0, (step + 1) / min(100, recipe.steps // 4 + 1))
        return warm * (0.1 + 0.9 * (1 + math.cos(math.pi * step / recipe.steps)) / 2)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, pace)
    model.train()
    progress = Progress(recipe.steps, "steps")
    source = batches_by_length(draw, recipe.batch_tokens, recipe.seed)
    for _ in range(recipe.steps):
        loss = loss_of(model, *pad_rows(next(source), model.config.pad_token_id))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.advance(note=f"loss {loss.item():.4f}")
    model.eval()


def make_model_folder(
    tokenizer_folder: Path,
    shape: dict[str, int],
    lesson: Callable[[random.Random], list[dict[str, str]]],
    recipe: Recipe,
    folder: Path,
    lead: str = "",
) -> None:
    """Train a model of `shape` (layers, hidden) on drawn conversations and write its folder."""
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    model: Any = build_model(tokenizer, **shape, seed=recipe.seed)
    train(model, lambda rng: encode_conversation(tokenizer, lesson(rng), lead), recipe)
    model.generation_config = GenerationConfig(
        eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id
    )
    save_model_folder(model, torch.bfloat16, tokenizer_folder, folder)


def go_on_with_model_folder(
    start: Path,
    lesson: Callable[[random.Random], list[dict[str, str]]],
    recipe: Recipe,
    folder: Path,
) -> None:
    """Train the model of `start` further, on other conversations, and write its folder."""
    tokenizer = Tokenizer.from_file(str(start / "tokenizer.json"))
    model: Any = Qwen2ForCausalLM.from_pretrained(start, dtype=torch.float32, use_safetensors=True)
    train(model, lambda rng: encode_conversation(tokenizer, lesson(rng)), recipe)
    save_model_folder(model, torch.bfloat16, start, folder)


def save_model_folder(model: Any, dtype: torch.dtype, tokenizer_folder: Path, folder: Path) -> None:
    """Weights in 16 bits, half the size, with which the demo's scores stay the same; beside them
    the tokenizer's files."""
    model.to(dtype).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer_folder / name, folder / name)
