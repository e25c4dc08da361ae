"""The demo's tokenizer: byte-level BPE, each digit a token, with two chat templates."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

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
