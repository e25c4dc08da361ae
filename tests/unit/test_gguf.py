"""GGUF files, read back by the package's own reader: every number where llama.cpp looks for it."""

import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tiny_chat import SPECIAL, TEMPLATE, make_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from snaketune.config.model import GGUF_FAMILIES, ModelSpec
from snaketune.models.gguf import by_pairs, check_gguf, write_gguf
from snaketune.models.gguf_vocabulary import read_vocabulary
from snaketune.runtime.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from families import make_model, save_model

FAMILIES = {
    "Llama": {"attention_bias": True},
    "Mistral": {"sliding_window": None},
    "Qwen2": {"tie_word_embeddings": True},
    "Qwen3": {},
    "Gemma 3": {},
}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_AROUND = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def own_name(name: str, gemma: bool) -> str:
    """llama.cpp's name of a weight, by its documentation."""
    stem, _, ending = name.rpartition(".")
    if stem in _AROUND:
        return f"{_AROUND[stem]}.{ending}"
    _, _, layer, place = stem.split(".", 3)
    after = "post_attention_norm" if gemma else "ffn_norm"
    further = {
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    }
    own = (_LAYER | further | {"post_attention_layernorm": after})[place]
    return f"blk.{layer}.{own}.{ending}"


def read(file: Path) -> tuple[dict, dict]:
    """Fields by name, and tensors as (numbers, kind)."""
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {
        t.name: (gguf.quants.dequantize(t.data, t.tensor_type), t.tensor_type.name)
        for t in reader.tensors
    }
    return fields, tensors


def turned(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row by row what transformers has half a head apart, from where llama.cpp has it in pairs."""
    size = len(rows) // heads
    places = [
        head * size + 2 * (i % (size // 2)) + i // (size // 2)
        for head in range(heads)
        for i in range(size)
    ]
    return rows[places]


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_weight_is_read_back(name, kind, tmp_path):
    folder = save_model(name, tmp_path / "model", **FAMILIES[name])
    write_gguf(folder, kind, tmp_path / "model.gguf", "tiny")
    model = AutoModelForCausalLM.from_pretrained(folder)
    _, found = read(tmp_path / "model.gguf")
    config, gemma = model.config, name == "Gemma 3"
    expected = dict(model.named_parameters())
    assert {own_name(key, gemma) for key in expected} == found.keys()
    for key, weight in expected.items():
        numbers, stored = found[own_name(key, gemma)]
        wanted = weight.detach().float().numpy()
        if name in ("Llama", "Mistral") and "q_proj" in key:
            numbers = turned(numbers, config.num_attention_heads)
        if name in ("Llama", "Mistral") and "k_proj" in key:
            numbers = turned(numbers, config.num_key_value_heads)
        if gemma and key.endswith("norm.weight"):
            wanted = wanted + 1
        if wanted.ndim == 1:
            assert stored == "F32" and np.array_equal(numbers, wanted), key
        elif kind == "q8_0":
            blocks = wanted.reshape(len(wanted), -1, 32)
            step = np.abs(blocks).max(-1, keepdims=True) / 127
            error = np.abs(numbers.reshape(blocks.shape) - blocks)
            assert stored == "Q8_0" and (error <= step * (0.5 + 127 * 2**-11) + 1e-7).all(), key
        else:
            dtype = torch.float16 if kind == "f16" else torch.bfloat16
            assert stored == kind.upper(), key
            assert np.array_equal(numbers, torch.tensor(wanted).to(dtype).float().numpy()), key


def test_rows_that_q8_0_has_no_blocks_for_stay_in_16_bits(tmp_path):
    folder = save_model("Qwen2", tmp_path / "model", intermediate_size=48)
    write_gguf(folder, "q8_0", tmp_path / "model.gguf", "tiny")
    kinds = {name: kind for name, (_, kind) in read(tmp_path / "model.gguf")[1].items()}
    assert kinds["blk.0.ffn_down.weight"] == "F16" and kinds["blk.0.ffn_up.weight"] == "Q8_0"


def test_the_file_says_what_the_model_is(tmp_path):
    folder = save_model("Gemma 3", tmp_path / "model", num_hidden_layers=2)
    write_gguf(folder, "q8_0", tmp_path / "model.gguf", "exp-run")
    found, _ = read(tmp_path / "model.gguf")
    expected = {
        "general.architecture": "gemma3",
        "general.name": "exp-run",
        "general.file_type": 7,
        "gemma3.context_length": 256,
        "gemma3.embedding_length": 32,
        "gemma3.block_count": 2,
        "gemma3.feed_forward_length": 64,
        "gemma3.attention.head_count": 4,
        "gemma3.attention.head_count_kv": 2,
        "gemma3.attention.key_length": 8,
        "gemma3.attention.sliding_window": 16,
        "gemma3.attention.sliding_window_pattern": [True, False],
        "gemma3.rope.freq_base": 1e6,
        "gemma3.rope.freq_base_swa": 1e4,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.eot_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    }
    assert {key: found.get(key) for key in expected} == expected
    tokenizer, tokens = make_tokenizer(), found["tokenizer.ggml.tokens"]
    size = len(tokenizer)
    assert tokens[:size] == tokenizer.convert_ids_to_tokens(range(size))
    assert tokens[size:] == [f"[PAD{i}]" for i in range(size, 320)]
    kinds = found["tokenizer.ggml.token_type"]
    assert [tokens[i] for i, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL] == SPECIAL
    assert len(found["tokenizer.ggml.merges"]) == size - 261


def tokenizer_of(*steps, normaliser=None, ignore_merges=False, **settings):
    core = Tokenizer(
        models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], ignore_merges=ignore_merges)
    )
    core.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(list(steps))
    core.normalizer = normaliser
    return PreTrainedTokenizerFast(tokenizer_object=core, **settings)


_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
_PLAIN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


@pytest.mark.parametrize(
    ("steps", "more", "name"),
    [
        ([_BYTES], {}, "gpt-2"),
        ([pre_tokenizers.Digits(individual_digits=True), _BYTES], {}, "smollm"),
        ([split(_QWEN), _PLAIN], {"normaliser": normalizers.NFC()}, "qwen2"),
        ([split(_QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")), _PLAIN], {"ignore_merges": True},
         "llama-bpe"),
        ([split(_QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")), _PLAIN], {}, "smaug-bpe"),
        ([pre_tokenizers.Digits(individual_digits=False), _BYTES], {}, None),
        ([split(_QWEN), _PLAIN], {"normaliser": normalizers.Lowercase()}, None),
        ([split(_QWEN), _PLAIN], {"ignore_merges": True}, None),
        ([split(r"\w+"), _PLAIN], {}, None),
        ([pre_tokenizers.ByteLevel(add_prefix_space=True)], {}, None),
        ([pre_tokenizers.Whitespace()], {}, None),
    ],
)  # fmt: skip
def test_how_text_is_split_is_known_by_name_or_refused(steps, more, name):
    tokenizer = tokenizer_of(*steps, **more)
    if name:
        assert read_vocabulary(tokenizer, 3, "tiny").pre == name
        return
    with pytest.raises(
        UserError, match=r"model tiny: gguf: found text split by .* expected one of"
    ):
        read_vocabulary(tokenizer, 3, "tiny")


def pieces(normaliser, splits=None):
    """As Gemma's: bytes for what no piece stands for, spaces as ▁."""
    vocab = {"<unk>": 0, "<0x0A>": 1, "▁": 2, "a": 3, "b": 4, "ab": 5, "▁ab": 6}
    core = Tokenizer(
        models.BPE(vocab, [("▁", "ab"), ("a", "b")], unk_token="<unk>", byte_fallback=True)
    )
    core.normalizer, core.pre_tokenizer = (
        normaliser,
        splits or pre_tokenizers.Split(" ", "isolated"),
    )
    core.decoder = decoders.ByteFallback()
    core.add_special_tokens(["<bos>"])
    core.add_tokens(["▁▁"])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", unk_token="<unk>")


def test_pieces_have_scores_in_the_order_in_which_they_are_joined():
    found = read_vocabulary(pieces(normalizers.Replace(" ", "▁")), 10, "tiny")
    assert (found.model, found.pre, found.merges, found.add_space_prefix) == (
        "llama", "default", None, False
    )  # fmt: skip
    assert found.tokens[:7] == ["<unk>", "<0x0A>", "▁", "a", "b", "ab", "▁ab"]
    assert found.tokens[7:] == ["<bos>", "  ", "[PAD9]"]
    kinds = gguf.TokenType
    assert found.kinds == [
        *(kinds.UNKNOWN, kinds.BYTE), *[kinds.NORMAL] * 5,
        *(kinds.CONTROL, kinds.USER_DEFINED, kinds.UNUSED),
    ]  # fmt: skip
    assert found.scores is not None and found.scores[6] > found.scores[5] > found.scores[2]
    assert found.special == {"bos": 7, "unk": 0}
    begun = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    assert read_vocabulary(pieces(begun), 10, "tiny").add_space_prefix is True
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="never")
    assert read_vocabulary(pieces(None, metaspace), 10, "tiny").add_space_prefix is False
    with pytest.raises(UserError, match="found text of pieces made by"):
        read_vocabulary(pieces(normalizers.Lowercase()), 10, "tiny")
    with pytest.raises(UserError, match="found 9 tokens and 8 rows of embeddings"):
        read_vocabulary(pieces(normalizers.Replace(" ", "▁")), 8, "tiny")


@pytest.mark.parametrize(
    ("name", "changes", "found"),
    [
        ("Falcon", {}, "found a model of type falcon, expected one of llama, mistral, qwen2"),
        ("Gemma 2", {}, "found a model of type gemma2"),
        ("Mistral", {}, "found sliding_window 16"),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 255, "max_window_layers": 0},
         "found sliding_window 255"),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 256}, None),
        ("Qwen2", {"use_sliding_window": False, "sliding_window": 255}, None),
        ("Gemma 3", {"query_pre_attn_scalar": 16}, "found query_pre_attn_scalar 16"),
        ("Llama", {"hidden_act": "gelu"}, "found activation gelu"),
        ("Llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
         "found rope_type dynamic"),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
         None),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_compute_otherwise_is_refused(name, changes, found, tmp_path):
    spec = ModelSpec(id=str(save_model(name, tmp_path / "model", **changes)))
    if found is None:
        assert check_gguf(spec)["architecture"] == name.lower()
        return
    with pytest.raises(UserError, match=f"gguf: {found}"):
        check_gguf(spec)


@pytest.mark.parametrize(("largest", "fits"), [(65504.0, True), (65600.0, False)])
def test_numbers_that_float16_has_no_room_for_are_refused(largest, fits, tmp_path):
    model = make_model("Qwen2")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = largest
    model.save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    file = tmp_path / "out" / "model.gguf"
    write_gguf(tmp_path / "model", "bf16", file, "tiny")
    if fits:
        write_gguf(tmp_path / "model", "f16", file, "tiny")
        assert read(file)[1]["blk.1.ffn_up.weight"][0][3, 4] == largest
        return
    with pytest.raises(UserError, match=r"found a number of 6.56e\+04 in blk.1.ffn_up.weight"):
        write_gguf(tmp_path / "model", "f16", file, "tiny")
    assert read(file)[0]["general.file_type"] == 32, "the file from before is whole"


def test_a_weight_without_a_place_is_refused(tmp_path):
    folder = save_model("Qwen2", tmp_path / "model")
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "model.other.weight": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"found model.other.weight, which has no place in qwen2"):
        write_gguf(folder, "f16", tmp_path / "model.gguf", "tiny")
    assert not (tmp_path / "model.gguf").exists()


def test_llama_3s_frequencies_are_those_of_transformers(tmp_path):
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    }  # fmt: skip
    folder = save_model("Llama", tmp_path / "model", head_dim=32, rope_parameters=rope)
    write_gguf(folder, "f16", tmp_path / "model.gguf", "tiny")
    factors, kind = read(tmp_path / "model.gguf")[1]["rope_freqs.weight"]
    config = AutoModelForCausalLM.from_pretrained(folder).config
    wanted, scale = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 5e5 ** -(np.arange(0, 32, 2) / 32)
    assert kind == "F32" and scale == 1 and {1, 8} < set(factors.tolist())
    assert np.allclose(plain / factors, wanted.numpy(), rtol=1e-5)


def test_pairs_are_those_of_the_rotation():
    """Rotated by llama.cpp's rule, adjacent numbers turn; the product is transformers'."""
    weight = torch.arange(16.0)[:, None]
    assert by_pairs(weight, 2)[:8, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert np.array_equal(turned(by_pairs(weight, 2).numpy(), 2), weight.numpy())


def test_the_families_are_llama_cpps():
    assert set(GGUF_FAMILIES.values()) <= set(gguf.MODEL_ARCH_NAMES.values())
