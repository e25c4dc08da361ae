"""Loading a state on the backend that is asked for."""

from typing import Literal

from transformers import AutoConfig

from snaketune.inference.session import Session
from snaketune.inference.state import State
from snaketune.inference.stops import end_tokens
from snaketune.inference.transformers_session import TransformersSession
from snaketune.models.describe import context_length, generation_configs
from snaketune.models.folder import load_tokenizer, model_folder
from snaketune.models.headers import require_kind
from snaketune.models.load import load_config, pick_device
from snaketune.models.state import load_state

Backend = Literal["transformers", "vllm"]


def open_session(state: State, backend: Backend = "transformers") -> Session:
    """Loads a state's model and the base model's tokenizer."""
    return _open_vllm(state) if backend == "vllm" else open_transformers(state)


def open_transformers(state: State) -> TransformersSession:
    """A session of the default backend, whose model and engine can be used directly."""
    spec = state.model
    load_config(spec, "causal")
    model = load_state(spec, state.quantisation, state.weights, state.files, pick_device())
    tokenizer = load_tokenizer(spec)
    # Weights that were trained as a whole come without a generation config: the base has it.
    configs = [model.generation_config, *generation_configs(model_folder(spec))]
    ends = end_tokens(tokenizer, configs, spec.id)
    return TransformersSession(spec.id, tokenizer, ends, context_length(model.config), model)


def _open_vllm(state: State) -> Session:
    from snaketune.inference.vllm_session import VllmSession, prepare_vllm

    spec = state.model
    start, adapter = prepare_vllm(spec, state.quantisation, state.weights, state.files)
    folder, tokenizer = model_folder(spec), load_tokenizer(spec)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    require_kind(config, "causal", spec.id)
    ends = end_tokens(tokenizer, generation_configs(folder), spec.id)
    return VllmSession(spec.id, tokenizer, ends, context_length(config), start, adapter)
