"""The optional backend for GPUs: vLLM (envs/vllm.yaml), behind the same interface.

Text can differ from the default backend's in 16 bits, as it does between batches; record and
compare states of one backend only. Written against vLLM 0.33.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from snaketune.config.model import ModelSpec, Quantisation
from snaketune.inference.decode import Reply
from snaketune.inference.pick import Sampling
from snaketune.inference.session import GenerationRequest, LoadableState, Session, backend
from snaketune.models.describe import context_length, generation_configs
from snaketune.models.folder import load_tokenizer, model_folder
from snaketune.models.headers import require_kind
from snaketune.models.load import Weights
from snaketune.prompts.conversation import end_tokens
from snaketune.runtime.errors import UserError

_CHUNK = 512  # prompts handed over at once: what a killed job loses at most
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM takes


@dataclass
class VllmSession(Session):
    """A vLLM engine, with an adapter or without."""

    start: Callable[[int], Any]
    """Starts the engine, with room for so many tokens of prompt and reply together."""
    adapter: Any
    """A LoRARequest, or None."""
    engine: Any = field(default=None, init=False)
    largest: int = field(default=0, init=False)

    def generate(
        self, requests: list[GenerationRequest], batch_size: int | str, sampling: Sampling | None
    ) -> Iterator[Reply]:
        """See Session. A sample is a request of its own with its own seed; the prompt's cache is
        shared between them. vLLM sizes its batches itself."""
        samples = [(ask, sample) for ask in requests for sample in ask.samples]
        if samples:
            # A model's whole context can be more than the GPU has a cache for.
            self.engine = self.start(max(len(ask.tokens) + ask.max_new for ask in requests))
        for start in range(0, len(samples), _CHUNK):
            chunk = samples[start : start + _CHUNK]
            self.largest = max(self.largest, len(chunk))
            outputs = self.engine.generate(
                [{"prompt_token_ids": ask.tokens} for ask, _ in chunk],
                [self._parameters(ask, sample, sampling) for ask, sample in chunk],
                use_tqdm=False,
                lora_request=self.adapter,
            )
            for (ask, sample), output in zip(chunk, outputs, strict=True):
                yield _reply(ask, sample, list(output.outputs[0].token_ids), self.ends)

    def _parameters(self, ask: GenerationRequest, sample: int, sampling: Sampling | None) -> Any:
        from vllm import SamplingParams

        how = (
            {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": sampling.seed_of(ask.id, sample),
            }
            if sampling
            else {"temperature": 0.0}
        )
        return SamplingParams(
            max_tokens=ask.max_new, stop_token_ids=self.ends, detokenize=False, **how
        )

    def describe(self) -> dict[str, Any]:
        """See Session."""
        config = self.engine.llm_engine.model_config if self.engine else None
        return {
            "backend": f"vllm {version('vllm')}",
            "engine": "vllm",
            "prefix_tokens": 0,
            "batch_sizes": [self.largest],
            "largest_batch": self.largest,
            "dtype": str(config.dtype).removeprefix("torch.") if config else None,
            "device": "cuda",
        }


def _reply(ask: GenerationRequest, sample: int, tokens: list[int], ends: Sequence[int]) -> Reply:
    stopped = bool(tokens) and tokens[-1] in ends
    return Reply(ask.index, sample, tokens, "stop" if stopped else "length")


@backend
def open_vllm(state: LoadableState) -> VllmSession:
    """A session whose engine starts when it knows how long its prompts are."""
    spec = state.model
    start, adapter = prepare_vllm(spec, state.quantisation, state.weights, state.files)
    folder, tokenizer = model_folder(spec), load_tokenizer(spec)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    require_kind(config, "causal", spec.id)
    ends = end_tokens(tokenizer, generation_configs(folder), spec.id)
    return VllmSession(spec.id, tokenizer, ends, context_length(config), start, adapter)


def prepare_vllm(
    spec: ModelSpec, quantisation: Quantisation, weights: Weights, files: Sequence[Path]
) -> tuple[Callable[[int], Any], Any]:
    """What starts vLLM's engine for a length, and the adapter request (or None) of a state.

    Raises UserError where vLLM isn't installed, and for NF4 states: their adapters belong on NF4
    weights, which the default backend serves.
    """
    if quantisation == "nf4":
        raise UserError(
            f"model {spec.id}: found quantisation nf4 with backend vllm, expected none; use "
            "backend transformers, or train with method lora"
        )
    # In a process of its own the engine would start this script anew, outside of the workflow, and
    # the memory that it takes would not be this job's.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        from vllm import LLM
        from vllm.lora.request import LoRARequest
    except ImportError:
        raise UserError(
            "backend vllm: found no vllm, expected it installed (GPU only): run with "
            "--sdm conda, or install what envs/vllm.yaml lists; or use backend transformers"
        ) from None
    adapter, rank = None, {}
    if weights == "adapter":
        adapter = LoRARequest("state", 1, str(files[0].parent))
        rank = {"enable_lora": True, "max_lora_rank": _rank(files[0].parent)}
    settings = {
        "model": str(files[0].parent) if weights == "full" else spec.id,
        "tokenizer": spec.id,
        "revision": None if weights == "full" else spec.revision,
        "tokenizer_revision": spec.revision,
        "trust_remote_code": spec.trust_remote_code,
        "dtype": spec.dtype,
        "generation_config": "vllm",  # nothing of the model's own leaks into decoding
        "enable_prefix_caching": True,
        **rank,
    }
    return lambda length: LLM(max_model_len=length, **settings), adapter


def _rank(folder: Path) -> int:
    """The smallest rank that vLLM takes and the adapter fits."""
    r = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"]
    return next(size for size in _RANKS if size >= r)
