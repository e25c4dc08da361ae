"""Whether an adapter fits its base: every tensor of its file has a place in the model and every
place its tensor, of the right shape and of finite numbers. PEFT warns of what does not fit, leaves
it out, and the base answers in the adapter's name.

The model of the check has no weights: its shapes follow from the config.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from snaketune.config.model import ModelSpec
from snaketune.models.headers import read_header
from snaketune.runtime.errors import UserError

Tensors = Mapping[str, torch.Tensor]

_BEGINNING = "base_model.model."
_INITS = (True, False, "gaussian", "orthogonal", "eva")
"""Those that leave the base as it is."""

# The language model of a class that also sees, and of one that does not; either way round.
_FRONTS = (
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.text_model.", "model."),
)


@dataclass(frozen=True)
class Fit:
    """What was found of an adapter that fits."""

    parameters: int
    base: str | None
    """The model that it says that it was trained on."""
    renamed: str | None
    """How its names were read, where they are not those of the base."""


def check_adapter(spec: ModelSpec, weights: Path, config: Path, name: str) -> Fit:
    """Holds the adapter's two files against the base and, where its names differ only in front,
    writes them anew. Raises UserError where it does not fit, or is of a kind that can't be
    measured."""
    from transformers import AutoConfig

    from snaketune.models.load import auto_class

    said = require_lora(config, name)
    base = AutoConfig.from_pretrained(
        spec.id, revision=spec.revision, trust_remote_code=spec.trust_remote_code
    )
    with torch.device("meta"):
        model = auto_class(base).from_config(base, trust_remote_code=spec.trust_remote_code)
    tensors = _read(weights, name)
    adapted = _place_for(model, config.parent, name, spec.id)
    names = _fitting_names(adapted, tensors, name, spec.id)
    renamed = _renaming(names)
    if renamed:
        save_file({names[key]: value for key, value in tensors.items()}, weights, {"format": "pt"})
    return Fit(
        sum(value.numel() for value in tensors.values()),
        said.get("base_model_name_or_path") or None,
        renamed,
    )


def describe_fit(fit: Fit, spec: ModelSpec) -> dict[str, Any]:
    """For the adapter's record; what differs is told in the log too."""
    other = fit.base if differs(fit.base, spec) else None
    if other:
        print(f"note: the adapter was trained on {other}, and the run's model is {spec.id}")
    if fit.renamed:
        print(f"note: names of the adapter differ from the base's in front: {fit.renamed}")
    told = {"trained_on": other, "renamed": fit.renamed}
    return {"parameters": fit.parameters} | {key: found for key, found in told.items() if found}


def differs(named: str | None, spec: ModelSpec) -> bool:
    """Whether the base that an adapter names is another one than the run's, as far as names tell:
    the same model may lie in a folder here and on the hub there."""
    return named is not None and Path(named).name.lower() != Path(spec.id).name.lower()


def require_lora(config: Path, name: str) -> dict[str, Any]:
    """The adapter's config. Raises UserError for kinds other than a language model's LoRA, and
    those that change the base when they are put on it."""
    try:
        said = json.loads(config.read_bytes())
        kind, task = said.get("peft_type"), said.get("task_type")
    except (ValueError, AttributeError):
        raise UserError(
            f"adapter {name}: {config.name} is no JSON object; expected PEFT's"
        ) from None
    faults = [
        (kind != "LORA", f"an adapter of the kind {kind}", "LORA"),
        (task not in (None, "CAUSAL_LM"), f"an adapter for the task {task}", "CAUSAL_LM"),
        (
            said.get("init_lora_weights", True) not in _INITS,
            f"init_lora_weights: {said.get('init_lora_weights')}, which changes the base too",
            "true; PEFT converts it: save_pretrained(path_initial_model_for_weight_conversion=…)",
        ),
        (bool(said.get("layer_replication")), "layer_replication, another base", "none"),
        (
            bool(said.get("alora_invocation_tokens")),
            "alora_invocation_tokens: it acts on a part of the text only",
            "none",
        ),
        (bool(said.get("use_qalora")), "use_qalora, which is for GPTQ weights", "false"),
    ]
    for wrong, found, expected in faults:
        if wrong:
            raise UserError(f"adapter {name}: found {found}, expected {expected}")
    for key, (fits, expected) in _VALUES.items():
        if key in said and not fits(said[key]):
            found = json.dumps(said[key], ensure_ascii=False)[:100]
            raise UserError(
                f"adapter {name}: {config.name}: {key}: found {found}, expected {expected}"
            )
    return said


def _is_rank(value: object) -> bool:
    return type(value) is int and 0 < value <= _LARGEST_RANK


def _is_scale(value: object) -> bool:
    """Of 0 the adapter is none, and the base answers in its name."""
    return type(value) in (int, float) and math.isfinite(float(str(value))) and value != 0


def _is_pattern(value: object, fits: Callable[[object], bool]) -> bool:
    return value is None or (isinstance(value, dict) and all(map(fits, value.values())))


def _are_names(value: object) -> bool:
    """A regular expression, or a list of names; None: by the kind of model."""
    if isinstance(value, str):
        with suppress(re.error):
            return bool(re.compile(value))
        return False
    return value is None or (isinstance(value, list) and all(isinstance(n, str) for n in value))


_LARGEST_RANK = 65_536
_RANK, _SCALE = f"a whole number from 1 to {_LARGEST_RANK:,}", "a finite number other than 0"
_SWITCH = (lambda value: value is None or isinstance(value, bool), "true or false")
_NAMES = (_are_names, "a list of names of layers, or a regular expression")
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_is_rank, _RANK),
    "lora_alpha": (_is_scale, _SCALE),
    "rank_pattern": (lambda found: _is_pattern(found, _is_rank), f"{_RANK} by layer"),
    "alpha_pattern": (lambda found: _is_pattern(found, _is_scale), f"{_SCALE} by layer"),
    **dict.fromkeys(("use_rslora", "use_dora", "fan_in_fan_out"), _SWITCH),
    **dict.fromkeys(("target_modules", "exclude_modules"), _NAMES),
    "base_model_name_or_path": (lambda found: found is None or isinstance(found, str), "a name"),
}
"""Of PEFT's settings those from which something else follows where they are not what they should
be, or a fault that names no file."""


def require_loaded(adapted: Any, folder: Path, name: str, base: str) -> None:
    """Holds the file of an adapter that PEFT has put on its base against the places there."""
    tensors = _read(folder / "adapter_model.safetensors", name)
    if _renaming(_fitting_names(adapted, tensors, name, base)):
        raise UserError(f"adapter {name}: its names differ from the base's; expected the same")


def _read(weights: Path, name: str) -> Tensors:
    """All tensors of the file. Raises UserError where a number is none."""
    if not read_header(weights):
        raise UserError(f"adapter {name}: found no tensors in {weights.name}, expected LoRA's")
    tensors = load_file(weights)
    for key, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise UserError(
                f"adapter {name}: found numbers that are not finite in {key}, expected finite ones"
            )
    return tensors


def _place_for(model: nn.Module, config: Path, name: str, base: str) -> Any:
    from peft import PeftConfig, PeftModelForCausalLM

    try:
        settings: Any = PeftConfig.from_pretrained(str(config))
        settings.init_lora_weights = True
        return PeftModelForCausalLM(model, settings, low_cpu_mem_usage=True)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise UserError(
            f"adapter {name}: its targets can't be placed in {base} ({error}); expected an "
            "adapter of that model"
        ) from error


def _fitting_names(adapted: Any, tensors: Tensors, name: str, base: str) -> dict[str, str]:
    """By name in the file the one under which PEFT finds it. Raises UserError where a tensor is
    left, a place is empty or a shape differs."""
    from peft import get_peft_model_state_dict

    places = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    faults = []
    for naming in _namings():
        names = {key: naming(key) for key in tensors}
        found = _as_loaded(adapted, {names[key]: value for key, value in tensors.items()})
        missing = sorted(set(places) - set(found))
        left = sorted(key for key in set(found) - set(places) if not _embeds(adapted, found, key))
        if not missing and not left:
            _require_shapes(places, found, name)
            return names
        faults.append((len(missing) + len(left), missing, left))
    _, missing, left = min(faults, key=lambda fault: fault[0])
    kinds = ((f"places of {base} without a tensor", missing), ("tensors without a place", left))
    told = [f"{len(keys)} {kind}, first {keys[0]}" for kind, keys in kinds if keys]
    raise UserError(
        f"adapter {name}: found {' and '.join(told)}; expected every tensor of the file to have "
        "its place, and every place its tensor: the adapter of another model, or half of one"
    )


def _as_loaded(adapted: Any, tensors: Tensors) -> Tensors:
    """The tensors as PEFT converts them for models whose layers changed since."""
    from peft.utils.transformers_weight_conversion import (
        convert_peft_adapter_state_dict_for_transformers,
    )

    try:
        return convert_peft_adapter_state_dict_for_transformers(
            model=adapted,
            peft_config=adapted.peft_config["default"],
            adapter_state_dict=dict(tensors),
            adapter_name="default",
        )
    except (ValueError, RuntimeError, KeyError):  # what is not of that model's kind
        return tensors


def _embeds(adapted: Any, found: Tensors, key: str) -> bool:
    """Whether it is the base's own embeddings or head, which PEFT saves along."""
    model = adapted.get_base_model()
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    inner = [getattr(end, "base_layer", end) for end in ends if end is not None]
    modules = {id(module): path for path, module in model.named_modules()}
    names = {f"{_BEGINNING}{modules[id(end)]}.weight": end for end in inner}
    return key in names and names[key].weight.shape == found[key].shape


def _require_shapes(places: Tensors, found: Tensors, name: str) -> None:
    for key, place in places.items():
        a, b = list(found[key].shape), list(place.shape)
        if a == b:
            continue
        rank = ("lora_A" in key and a[1:] == b[1:]) or ("lora_B" in key and a[:-1] == b[:-1])
        reason = "the rank in adapter_config.json" if rank else "the base"
        raise UserError(f"adapter {name}: {key}: found shape {a}, expected {b} by {reason}")


def _namings() -> list[Callable[[str], str]]:
    """Ways to read names, the plainest first."""
    pairs = [("", ""), *_FRONTS, *((b, a) for a, b in _FRONTS)]
    return [lambda key, a=a, b=b: _renamed(key, a, b) for a, b in pairs]  # type: ignore[misc]


def _renamed(key: str, front: str, new: str) -> str:
    body = key.removeprefix(_BEGINNING)
    return _BEGINNING + (new + body[len(front) :] if body.startswith(front) else body)


def _renaming(names: Mapping[str, str]) -> str | None:
    changed = [(key, name) for key, name in names.items() if key != name]
    return f"{changed[0][0]} read as {changed[0][1]}" if changed else None
