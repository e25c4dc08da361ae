"""Tiny random models of today's families, each as a folder with a tokenizer and a template."""

from pathlib import Path
from typing import Any

import torch
from tiny_chat import make_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 320
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
_MAMBA2 = {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 2, "chunk_size": 16}
_NO_DROPOUT = {"resid_pdrop": 0.0, "attn_pdrop": 0.0, "embd_pdrop": 0.0}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "num_key_value_heads": 4,
}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2": ("qwen2", {}),
    "Qwen3": ("qwen3", {}),
    "Qwen3-MoE": ("qwen3_moe", {**_EXPERTS, "decoder_sparse_step": 1}),
    "Qwen3-Next": (
        "qwen3_next",
        {**_EXPERTS, **_LINEAR, "shared_expert_intermediate_size": 16},
    ),
    "Qwen3.5": ("qwen3_5_text", _LINEAR),
    "Llama": ("llama", {}),
    "Llama 4": (
        "llama4_text",
        {
            "intermediate_size_mlp": 64,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 64,
        },
    ),
    "Mistral": ("mistral", {"sliding_window": 16}),
    "Mixtral": ("mixtral", {"num_local_experts": 4, "sliding_window": None}),
    "Gemma 2": ("gemma2", {"sliding_window": 16, "query_pre_attn_scalar": 8}),
    "Gemma 3": (
        "gemma3_text",
        {
            "sliding_window": 16,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention"],
            "tie_word_embeddings": True,
        },
    ),
    "Gemma 4": (
        "gemma4_text",
        {
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 8,
            "global_head_dim": 8,
            "num_kv_shared_layers": 0,
            "tie_word_embeddings": True,
        },
    ),
    "Phi-3": ("phi3", {"sliding_window": None}),
    "OLMo 2": ("olmo2", {}),
    "OLMo 3": (
        "olmo3",
        {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "OLMoE": ("olmoe", {"num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 16}),
    "GPT-2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, **_NO_DROPOUT}),
    "GPT-NeoX": ("gpt_neox", {}),
    "Granite": ("granite", {"logits_scaling": 2.0}),
    "Granite hybrid": (
        "granitemoehybrid",
        {
            "layer_types": ["mamba", "attention"],
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_chunk_size": 16,
            "shared_intermediate_size": 32,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "position_embedding_type": "rope",
        },
    ),
    "StarCoder2": ("starcoder2", {"sliding_window": None}),
    "StableLM": ("stablelm", {}),
    "Cohere": ("cohere", {}),
    "Cohere 2": (
        "cohere2",
        {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "GLM-4": ("glm4", {"partial_rotary_factor": 0.5}),
    "SmolLM3": ("smollm3", {}),
    "Falcon": (
        "falcon",
        {"new_decoder_architecture": True, "num_kv_heads": 2, "head_dim": None},
    ),
    "Falcon-H1": (
        "falcon_h1",
        {
            "mamba_d_ssm": 64,
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_chunk_size": 16,
        },
    ),
    "Nemotron-H": (
        "nemotron_h",
        {
            "layers_block_type": ["mamba", "attention", "mlp"],
            "num_hidden_layers": 3,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 2,
            "chunk_size": 16,
        },
    ),
    "DeepSeek-V3": (
        "deepseek_v3",
        {
            **_LATENT,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
            "n_group": 2,
            "topk_group": 1,
        },
    ),
    "Mamba": ("mamba", {"state_size": 8}),
    "Mamba 2": ("mamba2", {**_MAMBA2, "expand": 2}),
    "Jamba": (
        "jamba",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "Bamba": (
        "bamba",
        {
            "attn_layer_indices": [1],
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_chunk_size": 16,
        },
    ),
    "MiniMax": (
        "minimax",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "layer_types": ["linear_attention", "full_attention"],
            "block_size": 8,
        },
    ),
    "RecurrentGemma": (
        "recurrent_gemma",
        {
            "num_hidden_layers": 3,
            "attention_window_size": 16,
            "lru_width": 32,
            "block_types": ["recurrent", "recurrent", "attention"],
            "tie_word_embeddings": True,
        },
    ),
    "LFM2": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "GPT-OSS": (
        "gpt_oss",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "Phi": ("phi", {}),
}


def make_model(name: str, **changes: object) -> PreTrainedModel:
    """The family's, always the same one."""
    kind, shape = FAMILIES[name]
    settings = {**_SHAPE, **shape, **changes}
    settings = {key: value for key, value in settings.items() if key != "head_dim" or value}
    config = AutoConfig.for_model(kind, **settings)
    torch.manual_seed(5)
    return AutoModelForCausalLM.from_config(config).eval()


def save_model(name: str, folder: Path, **changes: object) -> Path:
    """The family's, with tokenizer and template."""
    make_model(name, **changes).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder
