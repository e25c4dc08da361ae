"""What a model is: checked before anything expensive starts, and recorded."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from snaketune.config.model import ModelSpec
from snaketune.models.content import weight_files
from snaketune.models.folder import load_tokenizer, model_folder
from snaketune.models.headers import (
    Kind,
    count_parameters,
    nf4_numbers,
    quantised_as,
    require_head,
    require_kind,
    require_readable,
    tensor_shapes,
)
from snaketune.models.load import auto_class
from snaketune.prompts.conversation import end_tokens, template_hash
from snaketune.prompts.form import Form, template_thought_end
from snaketune.runtime.errors import UserError

_LEAST_IN_NF4 = 2 / 3  # of the parameters; less is told


def describe_model(
    spec: ModelSpec,
    kind: Kind = "causal",
    chat: bool = True,
    thoughts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The record of a model: id, commit, parameters, dtype, template, end tokens, context length.

    A hub model is fetched into the hub's cache on the way. Raises `UserError` where something
    that the work needs isn't there; `thoughts`: a template that has some under each of these
    arguments.
    """
    folder = model_folder(spec)
    parameters = _checked_parameters(folder, spec.id)
    config = _readable_config(spec, folder)
    require_kind(config, kind, spec.id)
    comes = require_readable(config, spec.id, spec.quantisation)
    if kind == "causal":
        _require_shapes(config, folder, spec)
    if kind == "reward":
        require_head(config, tensor_shapes(folder), spec.id, spec.trust_remote_code)
    tokenizer = _readable_tokenizer(spec, folder)
    if chat and not tokenizer.chat_template:
        raise UserError(
            f"model {spec.id}: no chat template. Expected chat_template in tokenizer_config.json "
            "or a chat_template.jinja, because this experiment asks it in conversations; use the "
            "model's instruct or chat version, or add a template to a local folder."
        )
    for args in thoughts:
        form = Form("open_qa", template_args=args, thinking="on")
        template_thought_end(tokenizer, form, spec.id)
    in_nf4 = nf4_numbers(folder)
    if kind == "causal" and not comes and in_nf4 < _LEAST_IN_NF4 * parameters:
        print(
            f"note: in NF4, as under method qlora, {in_nf4:,} of the model's {parameters:,} "
            "parameters take 4 bits; embeddings, head and experts that are one tensor stay as "
            "they are"
        )
    if chat:
        _require_ending(tokenizer, spec.id)
    local = Path(spec.id).is_dir()
    return {
        "id": spec.id,
        "revision": spec.revision,
        "commit": None if local else folder.name,
        "folder": spec.id if local else None,
        "kind": kind,
        "architecture": (config.architectures or [config.model_type])[0],
        "parameters": parameters,
        **({"comes_as": comes} if comes else {"nf4_parameters": in_nf4}),
        "dtype": str(config.dtype).removeprefix("torch."),
        "context_length": context_length(config),
        "vocabulary": config.get_text_config().vocab_size,
        "template_hash": template_hash(tokenizer),
        "end_tokens": _named_ends(tokenizer, folder, spec.id) if kind == "causal" else [],
    }


def _readable_config(spec: ModelSpec, folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    except Exception as error:  # of whatever the library trips over
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"model {spec.id}: config.json: found none that transformers can read ({reason}); "
            "expected that of a model which the installed version knows"
        ) from error


def _readable_tokenizer(spec: ModelSpec, folder: Path) -> Any:
    """Raises UserError where there is none, in whose place transformers may make an empty one, or
    one that does not say where in a text its tokens stand."""
    kinds = ("tokenizer.json", "*.model", "vocab*", "*.tiktoken", "tekken.json", "*.spm", "*.py")
    reason = "" if any(f for kind in kinds for f in folder.glob(kind)) else "found no file of it"
    try:
        tokenizer = load_tokenizer(spec.model_copy(update={"id": str(folder), "revision": None}))
        reason = reason or ("" if tokenizer.is_fast else "it is a slow one, without offsets")
    except UserError:
        raise
    except Exception as error:
        reason = reason or " ".join(str(error).split())
    if reason:
        raise UserError(
            f"model {spec.id}: its tokenizer can't be read ({reason}); expected tokenizer.json, as "
            "save_pretrained of a fast tokenizer writes it"
        )
    return tokenizer


_TEMPLATE_SECONDS, _TEMPLATE_LETTERS = 5.0, 200_000


def _require_ending(tokenizer: Any, name: str) -> None:
    """Raises UserError where the chat template prints a turn without end: in a loop it would take
    the job's whole time and memory, and say nothing."""

    def stop(*_: object) -> None:
        raise TimeoutError

    found, usual = "", signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _TEMPLATE_SECONDS)
    try:
        found = tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
        ends = len(found) <= _TEMPLATE_LETTERS
    except TimeoutError:
        ends = False
    except Exception:  # what it does not take is said where it is asked
        ends = True
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, usual)
    if not ends:
        raise UserError(
            f"model {name}: its chat template prints more than {_TEMPLATE_LETTERS:,} letters for a "
            f"turn of one, or takes more than {_TEMPLATE_SECONDS:g} s; expected one that ends (a "
            "loop in it?): another one goes by `chat_template` of the model"
        )


def context_length(config: Any) -> int | None:
    """Tokens of prompt and reply that the model has positions for; None where it doesn't say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def generation_configs(folder: Path) -> list[GenerationConfig]:
    """The folder's own; none where it has none."""
    has_config = (folder / "generation_config.json").is_file()
    return [GenerationConfig.from_pretrained(folder)] if has_config else []


def _checked_parameters(folder: Path, name: str) -> int:
    """From the headers of the safetensors files; no weight is read."""
    if not weight_files(folder):
        kinds = ("*.bin", "*.safetensors")
        others = sorted(f.name for kind in kinds for f in folder.glob(kind)) or "no weights at all"
        raise UserError(
            f"model {name}: no model.safetensors and no model.safetensors.index.json. Found "
            f"{others}; only safetensors under these names are loaded: other formats can run code. "
            "Convert the model with save_pretrained of transformers, or use one that has them."
        )
    return count_parameters(folder)


def _require_shapes(config: Any, folder: Path, spec: ModelSpec) -> None:
    """Holds the files' headers against the model that the config describes, of which no weight is
    made. Names that loading converts are left to it."""
    with torch.device("meta"):
        try:
            model = auto_class(config).from_config(config, trust_remote_code=spec.trust_remote_code)
        except (ImportError, ValueError, NotImplementedError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"model {spec.id}: its config can't be made into a model here ({reason}); expected "
                "one that the libraries know, with an attn_implementation that is installed"
            ) from error
    if quantised_as(config):
        return  # packed weights have shapes of their own
    places = {name: list(weight.shape) for name, weight in model.state_dict().items()}
    for name, shape in tensor_shapes(folder).items():
        if shape != places.get(name, shape):
            raise UserError(
                f"model {spec.id}: {name}: found shape {shape}, expected {places[name]} by its "
                "config.json; files of two models in one folder?"
            )


def _named_ends(tokenizer: Any, folder: Path, name: str) -> list[dict[str, Any]]:
    ends = end_tokens(tokenizer, generation_configs(folder), name)
    return [{"id": i, "token": tokenizer.convert_ids_to_tokens(i)} for i in ends]
