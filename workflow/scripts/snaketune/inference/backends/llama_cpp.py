"""Replies and options from a GGUF file by llama.cpp (`llama-cpp-python`, envs/gguf.yaml).

No eval asks for it: it is what a run's export is asked by, whatever its evals ask its run by.
llama.cpp stands where a model of transformers would, and gives logits for tokens: prompts, ends,
draws, budgets and options are this project's, row by row. What a row shares with the one before
it is read once.
Shapes: T tokens of a row, K of which the last are wanted, V vocabulary.
"""

import atexit
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, GenerationConfig

from snaketune.config.model import NO_LLAMA_CPP
from snaketune.inference.backends.transformers import with_draws
from snaketune.inference.decode import Reply
from snaketune.inference.pick import Sampler, Sampling, greedy
from snaketune.inference.plain import row_by_row
from snaketune.inference.session import GenerationRequest, LoadableState, Session, backend
from snaketune.models.describe import context_length, generation_configs
from snaketune.models.folder import load_tokenizer, model_folder
from snaketune.prompts.conversation import end_tokens
from snaketune.runtime.errors import UserError

_BATCH = 512  # tokens that are read at once
_FIRST_ROOM = 512  # tokens
_NUMBERS = {1: "f16", 7: "q8_0", 32: "bf16"}  # gguf.LlamaFileType
_TEXTS = (
    "The quick brown fox isn't there; 12 - 5 = 7, said she (twice).",
    "def add(a, b):\n    return a + b\n\n\nprint(add(2, 40))  # 42.0",
    " Größe, naïve, 3.14 and 1,000,000 \t things…\n",
)


class LlamaCppModel(torch.nn.Module):
    """A GGUF file as a causal model without a cache that could be handed back: it keeps its own, of
    the last row that it read."""

    def __init__(self, file: Path, config: Any) -> None:
        super().__init__()
        self.file, self.config, self.name_or_path = file, config, file.name
        self.place = torch.nn.Parameter(torch.zeros(()), requires_grad=False)
        self.room, self.read = 0, list[int]()
        self.opened: Any = None
        atexit.register(self._close)  # later the package has no functions left to do it with
        self._make_room(1)

    def _close(self) -> None:
        if self.opened is not None:
            self.opened.close()

    def _make_room(self, tokens: int) -> None:
        """Loads the file anew where a row is longer than any before."""
        if tokens <= self.room:
            return
        import llama_cpp

        self._close()
        self.room, self.read = max(_FIRST_ROOM, 2 * self.room, tokens + _FIRST_ROOM), []
        self.opened = llama_cpp.Llama(
            str(self.file),
            n_ctx=self.room,
            n_batch=_BATCH,
            n_threads=torch.get_num_threads(),
            n_threads_batch=torch.get_num_threads(),
            n_gpu_layers=-1,  # where it was built for a GPU
            swa_full=True,  # else what a sliding window left behind could not be gone back to
            verbose=False,
        )
        self.memory = llama_cpp.llama_get_memory(self.opened.ctx)

    def forward(
        self, input_ids: Tensor, use_cache: bool = False, logits_to_keep: int = 0
    ) -> SimpleNamespace:
        """Logits [1, K, V] of the one row [1, T]."""
        import llama_cpp

        [tokens] = input_ids.tolist()
        self._make_room(len(tokens))
        wanted = len(tokens) - (logits_to_keep or len(tokens))
        kept = min(_shared(self.read, tokens), wanted)
        if not llama_cpp.llama_memory_seq_rm(self.memory, 0, kept, -1):
            llama_cpp.llama_memory_clear(self.memory, True)
            kept = 0
        self.read = tokens[:kept]
        rows = [
            row
            for start in range(kept, len(tokens), _BATCH)
            for row in self._decode(tokens[start : start + _BATCH], start, wanted)
        ]
        return SimpleNamespace(logits=torch.from_numpy(np.stack(rows))[None])

    def _decode(self, tokens: list[int], start: int, wanted: int) -> Iterator[np.ndarray]:
        """Reads tokens from place `start` on; logits [V] of those from place `wanted` on."""
        import llama_cpp

        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for i, token in enumerate(tokens):
                batch.token[i], batch.pos[i] = token, start + i
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
                batch.logits[i] = start + i >= wanted
            if failed := llama_cpp.llama_decode(self.opened.ctx, batch):
                raise RuntimeError(f"{self.file}: llama.cpp could not read tokens ({failed})")
        finally:
            llama_cpp.llama_batch_free(batch)
        self.read = self.read + tokens
        for i in range(max(0, wanted - start), len(tokens)):
            found = llama_cpp.llama_get_logits_ith(self.opened.ctx, i)
            yield np.ctypeslib.as_array(found, shape=(self.opened.n_vocab(),)).copy()


def _shared(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


@dataclass
class LlamaCppSession(Session):
    """A GGUF file."""

    keeps_budgets: ClassVar[bool] = True
    model: LlamaCppModel
    engine: ClassVar[None] = None

    def generate(
        self, requests: list[GenerationRequest], batch_size: int | str, sampling: Sampling | None
    ) -> Iterator[Reply]:
        """See Session."""
        pick = Sampler(sampling.temperature, sampling.top_p) if sampling else greedy
        yield from row_by_row(self.model, with_draws(requests, 0, sampling), pick, self.ends)

    def describe(self) -> dict[str, Any]:
        """See Session."""
        import llama_cpp

        said = self.model.opened.metadata.get("general.file_type", "")
        return {
            "backend": f"llama.cpp, by llama-cpp-python {version('llama-cpp-python')}",
            "engine": "row by row",
            "prefix_tokens": 0,
            "batch_sizes": [1],
            "largest_batch": 1,
            "dtype": _NUMBERS.get(int(said)) if said.isdigit() else None,
            "device": "gpu" if llama_cpp.llama_supports_gpu_offload() else "cpu",
            "threads": torch.get_num_threads(),
        }


@backend
def open_llama_cpp(state: LoadableState) -> LlamaCppSession:
    """A session on the state's one file. Raises UserError where the package isn't there, and for a
    file with which text becomes other tokens than with the model's own tokenizer."""
    if find_spec("llama_cpp") is None:
        raise UserError(NO_LLAMA_CPP)
    spec, [file] = state.model, state.files
    folder, tokenizer = model_folder(spec), load_tokenizer(spec)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    model = LlamaCppModel(file, config)
    for text in _TEXTS:
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        found = model.opened.tokenize(text.encode(), add_bos=False)
        if found != own:
            raise UserError(
                f"{file}: llama.cpp reads {text!r} as {found}, the model's tokenizer as {own}; "
                "expected the same tokens. Leave gguf out of this model's runs"
            )
    configs = [GenerationConfig.from_model_config(config), *generation_configs(folder)]
    ends = end_tokens(tokenizer, configs, spec.id)
    return LlamaCppSession(spec.id, tokenizer, ends, context_length(config), model)
