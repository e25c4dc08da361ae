"""A model's folder as one GGUF file, for llama.cpp and what is built on it (Ollama, LM Studio, …).

Names, order and numbers of the weights are as llama.cpp computes with them: rows of queries and
keys of Llama's family are put pair by pair, norms of Gemma's count from 0 there and from 1 here.
Shapes: H heads, D numbers a head. Memory: the file's, and one weight in float32.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

from snaketune.config.model import GGUF_FAMILIES, GgufType, ModelSpec, no_gguf_family
from snaketune.models.content import weight_files
from snaketune.models.folder import load_tokenizer, model_folder
from snaketune.models.gguf_vocabulary import Vocabulary, read_vocabulary
from snaketune.models.headers import tensor_shapes
from snaketune.runtime.errors import UserError

_EMBEDDINGS, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_FIFTH_AND_SIXTH = 6  # of Gemma 3's layers every sixth sees all, unless the file says otherwise


def write_gguf(folder: Path, kind: GgufType, file: Path, name: str) -> None:
    """Writes the model in `folder`, in numbers of `kind`: all weights but norms, biases, and what
    Q8_0 has no blocks for. Raises UserError as `require_gguf` does, for a weight that has no place
    and for numbers that are too large."""
    import gguf

    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    vocabulary = require_gguf(folder, config, tokenizer, name)
    architecture = GGUF_FAMILIES[config.model_type]
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    writer = gguf.GGUFWriter(new, architecture)
    written = gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"]
    writer.add_name(name)
    writer.add_file_type(written)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, config)
    _add_vocabulary(writer, vocabulary)
    names = gguf.get_tensor_name_map(
        next(key for key, text in gguf.MODEL_ARCH_NAMES.items() if text == architecture),
        config.num_hidden_layers,
    )
    for theirs, weight in _weights(folder, config):
        own = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if own is None:
            raise UserError(
                f"model {name}: gguf: found {theirs}, which has no place in {architecture}; "
                "nothing was written. Leave gguf out of this model's runs"
            )
        _add_weight(writer, own, _as_computed(theirs, weight, config), kind, name)
    if (factors := _rope_factors(config)) is not None:
        writer.add_tensor("rope_freqs.weight", factors.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    new.rename(file)


def check_gguf(spec: ModelSpec) -> dict[str, str]:
    """What a base's exports will be for llama.cpp. Raises UserError as `require_gguf` does."""
    folder, tokenizer = model_folder(spec), load_tokenizer(spec)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    found = require_gguf(folder, config, tokenizer, spec.id)
    architecture = GGUF_FAMILIES[config.model_type]
    return {"architecture": architecture, "tokenizer": found.model, "pre": found.pre}


def require_gguf(folder: Path, config: Any, tokenizer: Any, name: str) -> Vocabulary:
    """The vocabulary of the model in `folder`. Raises UserError for a model that is not written
    right, or that llama.cpp would compute otherwise; weights are not read."""
    if config.model_type not in GGUF_FAMILIES:
        raise UserError(f"model {name}: gguf: {no_gguf_family(config.model_type)}")
    for found in _computed_otherwise(config):
        raise UserError(
            f"model {name}: gguf: found {found}, with which llama.cpp computes otherwise; leave "
            "gguf out of this model's runs"
        )
    rows = tensor_shapes(folder).get(_EMBEDDINGS, (0,))[0]
    return read_vocabulary(tokenizer, rows, name)


def _computed_otherwise(config: Any) -> Iterator[str]:
    """Settings that llama.cpp has no key for in this family."""
    for key, rope in _ropes(config).items():
        scaling = rope.get("rope_type", "default")
        if scaling not in ("default", "linear", "llama3") or (
            scaling == "llama3" and config.model_type not in ("llama", "mistral")
        ):
            yield f"rope_type {scaling}{f' of {key}' if key else ''}"
        if rope.get("partial_rotary_factor", 1) != 1:
            yield f"partial_rotary_factor {rope['partial_rotary_factor']}"
    if config.model_type == "gemma3_text":
        if config.query_pre_attn_scalar != config.head_dim:
            yield f"query_pre_attn_scalar {config.query_pre_attn_scalar}"
        if config.attn_logit_softcapping:
            yield "attn_logit_softcapping"
        if getattr(config, "use_bidirectional_attention", False):
            yield "use_bidirectional_attention"
    else:
        window = getattr(config, "sliding_window", None)
        used = getattr(config, "use_sliding_window", True)
        if window and used and window < config.max_position_embeddings:
            yield f"sliding_window {window}"
    activation = getattr(config, "hidden_act", None) or config.hidden_activation
    if activation != ("gelu_pytorch_tanh" if config.model_type == "gemma3_text" else "silu"):
        yield f"activation {activation}"


def _ropes(config: Any) -> dict[str, Mapping[str, Any]]:
    """Positions by kind of layer; under "" where all layers have the same."""
    found = config.rope_parameters
    return found if "full_attention" in found else {"": found}


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _add_shape(writer: Any, config: Any) -> None:
    """What llama.cpp builds the model by."""
    import gguf

    size, ropes = _head_size(config), _ropes(config)
    rope = ropes.get("full_attention", ropes.get("", {}))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if config.model_type != "gemma3_text":
        return
    writer.add_rope_freq_base_swa(ropes["sliding_attention"]["rope_theta"])
    if config.final_logit_softcapping:
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_sliding_window(config.sliding_window)
    near = [kind == "sliding_attention" for kind in config.layer_types]
    if near != [(i + 1) % _FIFTH_AND_SIXTH > 0 for i in range(len(near))]:
        writer.add_sliding_window_pattern(near)


def _add_vocabulary(writer: Any, found: Vocabulary) -> None:
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_vocab_size(len(found.tokens))
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.kinds)
    if found.scores is not None:
        writer.add_token_scores(found.scores)
    if found.merges is not None:
        writer.add_token_merges(found.merges)
    if found.add_space_prefix is not None:
        writer.add_add_space_prefix(found.add_space_prefix)
    writer.add_add_bos_token(found.add_bos)
    for key, token in found.special.items():
        getattr(writer, f"add_{key}_token_id")(token)
    if found.template:
        writer.add_chat_template(found.template)


def _weights(folder: Path, config: Any) -> Iterator[tuple[str, Tensor]]:
    """All weights in float32, by their names; not a head that is the embeddings."""
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                if name == _HEAD and config.tie_word_embeddings:
                    continue
                yield name, opened.get_tensor(name).float()


def _as_computed(name: str, weight: Tensor, config: Any) -> Tensor:
    """The weight as llama.cpp takes it."""
    architecture = GGUF_FAMILIES[config.model_type]
    if architecture == "gemma3" and name.endswith("norm.weight"):
        return weight + 1
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    layer = name.split(".")[-2]
    if architecture == "llama" and layer in heads:
        return by_pairs(weight, heads[layer])
    return weight


def by_pairs(weight: Tensor, heads: int) -> Tensor:
    """[H * D, …]: of each head the numbers that turn together side by side; transformers has them
    half a head apart."""
    shape = weight.shape
    return weight.view(heads, 2, shape[0] // heads // 2, *shape[1:]).transpose(1, 2).reshape(shape)


def _add_weight(writer: Any, own: str, weight: Tensor, kind: GgufType, name: str) -> None:
    import gguf

    plain = gguf.GGMLQuantizationType.F32
    wanted = gguf.GGMLQuantizationType[kind.upper()]
    if weight.ndim < 2:
        wanted = plain
    elif kind == "q8_0" and weight.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0]:
        wanted = gguf.GGMLQuantizationType.F16
    if wanted == gguf.GGMLQuantizationType.F16:
        largest = float(weight.abs().max())
        if not largest <= torch.finfo(torch.float16).max:
            raise UserError(
                f"model {name}: gguf: found a number of {largest:.3g} in {own}, expected none "
                "above 65504, the largest of float16; nothing was written. Use gguf: [bf16]"
            )
    writer.add_tensor(own, gguf.quants.quantize(weight.numpy(), wanted), raw_dtype=wanted)


def _rope_factors(config: Any) -> Tensor | None:
    """What Llama 3.1 divides its frequencies by, [D / 2]; None: nothing."""
    rope = _ropes(config).get("", {})
    if rope.get("rope_type") != "llama3":
        return None
    size, factor = _head_size(config), rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    length = rope["original_max_position_embeddings"]
    frequencies = rope["rope_theta"] ** -(torch.arange(0, size, 2).double() / size)
    waves = 2 * math.pi / frequencies
    share = ((length / waves - low) / (high - low)).clamp(0, 1)
    return (1 / ((1 - share) / factor + share)).float()
