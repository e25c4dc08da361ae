"""A run's state as a model of its own: a folder that plain transformers loads, checked against the
state on a few rows.

Memory: 4 bytes a weight, of one model at a time.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from snaketune.config.model import ModelSpec, Quantisation
from snaketune.models.content import ADAPTER, model_files, weight_files
from snaketune.models.describe import generation_configs
from snaketune.models.folder import LICENCES, load_tokenizer, model_folder
from snaketune.models.headers import count_parameters, float_dtypes, main_dtype
from snaketune.models.load import (
    Weights,
    attach_adapter,
    auto_class,
    load_model,
    pick_device,
    pick_dtype,
)
from snaketune.models.nf4 import expand_nf4
from snaketune.prompts.conversation import end_tokens
from snaketune.runtime.errors import UserError

_CPU = torch.device("cpu")
_FLOAT32 = 4  # bytes a number
_SPARE = 1.3  # for NF4 weights that are yet to be expanded, and the adapter
_TEXTS = (
    "How many apples are left? 12 - 5 = 7, so the answer is 7.",
    "The quick brown fox jumps over the lazy dog; nobody knows why (not even the dog).",
    "def add(a, b):\n    return a + b\n\nprint(add(2, 40))",
)
_LONGEST = 64  # tokens of a row of the check
_ROUNDING = 1e-3  # of the largest logit, for sums in float32


def write_merged(
    spec: ModelSpec,
    quantisation: Quantisation,
    weights: Weights,
    files: Sequence[Path],
    folder: Path,
) -> None:
    """Writes the model that the run's state is to `folder`: safetensors, config, generation config,
    tokenizer with its template, and the base's licence.

    The adapter is added to the weights that it was trained on: those that NF4 stands for, not the
    original ones, quantised from the dtype that training had. Sums are taken in float32 and stored
    as the base is. A fully trained model is whole already. Raises UserError where the folder, as
    plain transformers loads it, gives other logits than the state.
    """
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    rows, dtypes = _rows(spec), _stored_dtypes(spec)
    if weights == "full":
        for file in files:
            shutil.copyfile(file, new / file.name)
        device = _place(spec)
        state = load_model(_full(spec, files), "none", device).float()
        measured = stored = logits_of(state, rows)
    else:
        state, measured, device = _merged(spec, quantisation, files[0].parent, rows)
        stored = _round(state, dtypes, rows)
        _save(state, new)
    del state
    _write_beside(spec, new)
    _check(new, spec, rows, measured, stored, device, dtypes[""])
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _full(spec: ModelSpec, files: Sequence[Path]) -> ModelSpec:
    return spec.model_copy(
        update={"id": str(files[0].parent), "revision": None, "dtype": "float32"}
    )


def _merged(
    spec: ModelSpec, quantisation: Quantisation, adapter: Path, rows: list[list[int]]
) -> tuple[Any, list[torch.Tensor], torch.device]:
    """The merged model in float32, the logits of base and adapter side by side, and where."""
    # NF4 weights follow from the numbers that they were made of: training's, on this device.
    dtype = pick_dtype(spec.dtype, pick_device())
    as_trained = spec.model_copy(update={"dtype": str(dtype).removeprefix("torch.")})
    device = _place(spec)
    base: Any = load_model(as_trained, quantisation, device)
    expand_nf4(base, torch.float32)
    base.float()
    adapted: Any = attach_adapter(base, adapter)
    measured = logits_of(adapted, rows)
    _untie(base)
    merged = adapted.merge_and_unload(safe_merge=True)
    _require_same(spec, measured, logits_of(merged, rows), "merging the adapter")
    return merged, measured, device


def _untie(model: Any) -> None:
    """Gives a head that is the embeddings its own weights where the adapter changes one of the
    two: added into what they share, it would change both."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    ends: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    if None in ends or not any(isinstance(end, BaseTunerLayer) for end in ends):
        return
    inner = [getattr(end, "base_layer", end) for end in ends]
    if inner[0].weight.data_ptr() == inner[1].weight.data_ptr():
        inner[1].weight = torch.nn.Parameter(inner[1].weight.detach().clone(), requires_grad=False)


def _say_whether_tied(model: Any) -> None:
    """The config says that the head is the embeddings where it no longer is: then loading would
    put them there."""
    ends = model.get_input_embeddings(), model.get_output_embeddings()
    if None in ends or ends[0].weight.data_ptr() == ends[1].weight.data_ptr():
        return
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
    model.all_tied_weights_keys = {}


def _place(spec: ModelSpec) -> torch.device:
    device = pick_device()
    return device if _has_room(spec, device) else _CPU


def _has_room(spec: ModelSpec, device: torch.device) -> bool:
    """Whether the device takes the whole model in float32."""
    if device.type == "cpu":
        return True
    needed = _FLOAT32 * count_parameters(model_folder(spec))
    return _SPARE * needed <= torch.cuda.mem_get_info(device)[0]


def _stored_dtypes(spec: ModelSpec) -> dict[str, torch.dtype]:
    """By name of a weight, as in the base's files; under "" that of all others."""
    if spec.dtype != "auto":
        return {"": getattr(torch, spec.dtype)}
    folder = model_folder(spec)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    said = config.dtype or config.get_text_config().dtype
    main = said or getattr(torch, main_dtype(folder) or "float32")
    # What is wider in the files is so for a reason, such as the decay of a state-space layer.
    wider = {
        name: torch.float32
        for name, dtype in float_dtypes(folder).items()
        if dtype == "float32" and main.itemsize < _FLOAT32
    }
    return {"": main, **wider}


@torch.no_grad()
def _round(model: Any, dtypes: dict[str, torch.dtype], rows: list[list[int]]) -> list[torch.Tensor]:
    """Rounds the weights to what they are stored in; the logits with them, taken in float32."""
    named = [(dtypes.get(name, dtypes[""]), weight) for name, weight in model.named_parameters()]
    for dtype, weight in named:
        weight.data = weight.data.to(dtype).float()
    stored = logits_of(model, rows)
    for dtype, weight in named:
        weight.data = weight.data.to(dtype)
    return stored


def _save(model: Any, folder: Path) -> None:
    _say_whether_tied(model)
    # Written beside; the base's may hold settings that transformers refuses to write again.
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder)


def _write_beside(spec: ModelSpec, new: Path) -> None:
    """What is no weight: the tokenizer and its template, the end tokens under which the state was
    measured among those of the generation config, and all else that loading or a reader of the
    licence uses, as the base has it."""
    base, tokenizer = model_folder(spec), load_tokenizer(spec)
    tokenizer.save_pretrained(new)
    weights = {*weight_files(base), base / "model.safetensors.index.json"}
    weights |= {base / name for name in ADAPTER}
    licences = [file for pattern in LICENCES for file in base.glob(pattern)]
    for file in {*model_files(base), *licences} - weights:
        target = new / file.relative_to(base)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    config = AutoConfig.from_pretrained(new, trust_remote_code=spec.trust_remote_code)
    configs = [GenerationConfig.from_model_config(config), *generation_configs(base)]
    ends = end_tokens(tokenizer, configs, spec.id)
    said = base / "generation_config.json"
    text = json.loads(said.read_text(encoding="utf-8")) if said.is_file() else {}
    text["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    written = json.dumps(text, indent=2, ensure_ascii=False, sort_keys=True)
    (new / said.name).write_text(written + "\n", encoding="utf-8")


def _rows(spec: ModelSpec) -> list[list[int]]:
    """Rows of the check: some text, as the model's tokens."""
    tokenizer = load_tokenizer(spec)
    return [tokenizer(text)["input_ids"][:_LONGEST] for text in _TEXTS]


@torch.inference_mode()
def logits_of(model: Any, rows: Iterable[Sequence[int]]) -> list[torch.Tensor]:
    """[T, V] of each row, in float32 on the CPU."""
    device = next(model.parameters()).device
    return [
        model(input_ids=torch.tensor([row], device=device), use_cache=False).logits[0].float().cpu()
        for row in rows
    ]


def _check(
    new: Path,
    spec: ModelSpec,
    rows: list[list[int]],
    measured: list[torch.Tensor],
    stored: list[torch.Tensor],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Loads what was written, as anybody would, and holds it against what it was written from."""
    tokenizer = AutoTokenizer.from_pretrained(new, trust_remote_code=spec.trust_remote_code)
    if [tokenizer(text)["input_ids"][:_LONGEST] for text in _TEXTS] != rows:
        raise UserError(f"model {spec.id}: its tokenizer, saved and loaded, makes other tokens")
    auto = auto_class(AutoConfig.from_pretrained(new, trust_remote_code=spec.trust_remote_code))
    model, loaded = auto.from_pretrained(
        new,
        dtype=torch.float32,
        trust_remote_code=spec.trust_remote_code,
        device_map={"": device},
        output_loading_info=True,
    )
    if missing := sorted([*loaded["missing_keys"], *loaded["unexpected_keys"]]):
        raise UserError(
            f"model {spec.id}: merged and loaded again, found {', '.join(missing[:3])} "
            f"({len(missing)} weights) missing or without a place; expected every weight of "
            f"{type(model).__name__}"
        )
    again = logits_of(model.eval(), rows)
    _require_same(spec, stored, again, "saving and loading it")
    found = agreement(measured, again, dtype)
    print(
        f"merged and measured model on {sum(map(len, rows))} tokens: the same likeliest token at "
        f"{100 * found.same:.1f} %, another one, and no tie in {str(dtype)[6:]}, at "
        f"{100 * found.apart:.1f} %, KL {found.kl:.2g}"
    )


def _require_same(
    spec: ModelSpec, one: list[torch.Tensor], other: list[torch.Tensor], doing: str
) -> None:
    pairs = list(zip(one, other, strict=True))
    off = max(float((a - b).abs().max()) for a, b in pairs)
    largest = max(float(a.abs().max()) for a in one)
    if not off <= _ROUNDING * max(1.0, largest):
        raise UserError(
            f"model {spec.id}: {doing} changed its logits by up to {off:.2g} (the largest is "
            f"{largest:.2g}), expected no more than rounding; nothing was written. Use the adapter "
            "beside its base"
        )


class Agreement(NamedTuple):
    """Of two models on the same text."""

    same: float
    """The share of places whose likeliest token is the same."""
    apart: float
    """The share where it differs though the first model's two likeliest logits are further from
    each other than rounding them could bring them together: no tie."""
    kl: float
    """The mean KL of the second from the first, in nats."""


def agreement(
    one: list[torch.Tensor], other: list[torch.Tensor], dtype: torch.dtype = torch.bfloat16
) -> Agreement:
    """How far the logits [T, V] of the `other` model are those of `one`, in numbers of `dtype`."""
    a, b = torch.cat(one).double(), torch.cat(other).double()
    first, second = a.topk(2, -1).values.unbind(-1)
    differ = a.argmax(-1) != b.argmax(-1)
    apart = differ & (first - second > torch.finfo(dtype).eps / 2 * first.abs())
    a, b = a.log_softmax(-1), b.log_softmax(-1)
    kl = (a.exp() * (a - b)).sum(-1)
    return Agreement(*(float(x.double().mean()) for x in (~differ, apart, kl)))
