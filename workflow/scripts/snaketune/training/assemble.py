"""How many tokens a micro-batch may have, and what memory was used."""

import resource

import torch
from transformers import PretrainedConfig

from snaketune.plan.estimate import MICRO_BATCH_TOKENS

_CPU_BYTES = 400_000_000
_GPU_SHARE = 0.4
_LEAST = 512
_SHORT_PRODUCTS = 30


def token_budget(config: PretrainedConfig, dtype: torch.dtype, device: torch.device) -> int:
    """Padded tokens of a micro-batch to start with, from an estimate of what a token's
    activations take. It follows from model and device alone, so that a training that starts
    again lays its rows out the same way. Where it proves too much, it is halved."""
    text = config.get_text_config()
    # Saved for the backward pass in a block: about 12 tensors of the width, 4 of the inner width.
    width, inner = text.hidden_size, getattr(text, "intermediate_size", 0) or 4 * text.hidden_size
    token = text.num_hidden_layers * (12 * width + 4 * inner) * dtype.itemsize
    return max(_LEAST, min(MICRO_BATCH_TOKENS, int(_room(device) / token)))


def _room(device: torch.device) -> float:
    if device.type == "cuda":
        return _GPU_SHARE * torch.cuda.get_device_properties(device).total_memory
    return _CPU_BYTES


def call_overhead(parameters: int, device: torch.device) -> int:
    """What one micro-batch costs beyond its tokens, in tokens: the time of its calls over the
    time of a token, and what short products lose. A small model on a fast device is all calls.
    (Measured on two CPU cores with 1 and 30 million weights: 10 ms of calls, 30 tokens.)"""
    calls, rate = (0.05, 1e14) if device.type == "cuda" else (0.01, 1e11)
    return _SHORT_PRODUCTS + int(calls * rate / (4 * parameters))


def peak_memory(device: torch.device) -> int:
    """Bytes used at most so far: on the GPU by tensors, on the CPU by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
