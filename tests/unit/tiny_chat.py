"""A tiny chat model for the tests of inference: random weights, a real tokenizer and template."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
WORDS = ["one", "two", "apples", "pears", "add", "take", "how", "many", "are", "safe", "the", "boy"]


def make_tokenizer(**changes: object) -> PreTrainedTokenizerFast:
    """Byte-level BPE on a few words; `<|endoftext|>` is its end token, the template's another."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet)
    core.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    settings = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"} | changes
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **settings)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(vocabulary: int, **changes: object) -> Qwen2ForCausalLM:
    """Random weights, large enough that greedy replies differ and some of them end."""
    torch.manual_seed(3)
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    return Qwen2ForCausalLM(Qwen2Config(**shape | changes)).eval()


def save_chat_model(folder: Path, model: PreTrainedModel | None = None, **changes: object) -> Path:
    """Model and tokenizer as a folder."""
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer), **changes) if model is None else model
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def questions(count: int, seed: int = 0) -> list[str]:
    """Questions of mixed length."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(2, 25))) for _ in range(count)]
