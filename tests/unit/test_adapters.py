"""Adapters from elsewhere: those that fit their base in every form, and those that must not be
measured."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from test_modeling import CPU, cache, log_probabilities, spec  # noqa: F401
from test_modeling_merge import TAUGHT, mixtral, random_adapter, untied
from test_training_language_part import save_kind
from tiny_chat import save_chat_model
from transformers import AutoModelForCausalLM

from snaketune.config.model import ModelSpec
from snaketune.models.adapters import check_adapter, describe_fit
from snaketune.models.load import load_model, load_state
from snaketune.report.provenance import model_facts
from snaketune.report.sources import ReportSources
from snaketune.runtime.errors import UserError

FRONT = "base_model.model."


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_chat_model(tmp_path_factory.mktemp("base"), untied())


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    random_adapter(base, "none", folder, target_modules="all-linear")
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "adapter")


def check(folder, base):
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    return check_adapter(ModelSpec(id=str(base)), weights, config, "theirs")


def edit_tensors(folder, change):
    file = folder / "adapter_model.safetensors"
    tensors = change(load_file(file))
    save_file(tensors, file, metadata={"format": "pt"})


def edit_config(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def some(tensors, keep):
    return {name: value for name, value in tensors.items() if keep(name)}


def with_nan(tensors):
    next(iter(tensors.values()))[0, 0] = torch.nan
    return tensors


def with_infinity(tensors):
    list(tensors.values())[-1][-1, -1] = torch.inf
    return tensors


def of_another_layer(tensors):
    more = {name.replace("layers.0", "layers.7"): v.clone() for name, v in tensors.items()}
    return tensors | some(more, lambda name: "layers.7" in name)


def wider(tensors):
    name = next(name for name in tensors if "lora_A" in name)
    return tensors | {name: torch.cat([tensors[name]] * 2, 1)}


def truncated(folder):
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def tensors_by(change):
    return lambda folder: edit_tensors(folder, change)


def config_by(**changes):
    return lambda folder: edit_config(folder, **changes)


BROKEN = {
    "no LoRA tensor": (
        tensors_by(lambda tensors: {FRONT + "model.norm.scale": torch.ones(2)}),
        "28 places of .* without a tensor",
    ),
    "no tensor": (tensors_by(lambda tensors: {}), "found no tensors in adapter_model.safetensors"),
    "half of the weights": (
        tensors_by(lambda tensors: some(tensors, lambda name: "layers.0" in name)),
        "14 places of .* without a tensor, first base_model.model.model.layers.1",
    ),
    "one weight less": (
        tensors_by(lambda tensors: dict(list(tensors.items())[1:])),
        "1 places of .* without a tensor",
    ),
    "not a number": (tensors_by(with_nan), "numbers that are not finite in base_model"),
    "infinity": (tensors_by(with_infinity), "numbers that are not finite in base_model"),
    "a layer that the base lacks": (
        tensors_by(of_another_layer),
        "14 tensors without a place, first base_model.model.model.layers.7",
    ),
    "another width": (tensors_by(wider), r"found shape \[4, 192\], expected \[4, 96\] by the base"),
    "another rank": (
        config_by(r=8),
        r"found shape \[4, 64\], expected \[8, 64\] by the rank in adapter_config.json",
    ),
    "targets that the base lacks": (
        config_by(target_modules=["c_attn"]),
        "its targets can't be placed in",
    ),
    "a part of the targets": (config_by(target_modules=["q_proj"]), "tensors without a place"),
    "magnitudes that are not there": (config_by(use_dora=True), "14 places of .*lora_magnitude"),
    "another kind": (config_by(peft_type="IA3"), "found an adapter of the kind IA3, expected LORA"),
    "prompt tokens": (
        config_by(peft_type="PROMPT_TUNING"),
        "found an adapter of the kind PROMPT_TUNING, expected LORA",
    ),
    "a classifier's": (
        config_by(task_type="SEQ_CLS"),
        "found an adapter for the task SEQ_CLS, expected CAUSAL_LM",
    ),
    "a changed base": (
        config_by(init_lora_weights="pissa"),
        "found init_lora_weights: pissa, which changes the base too, expected true",
    ),
    "a broken download": (truncated, "bytes, expected .* by its header"),
    "no settings": (
        lambda folder: (folder / "adapter_config.json").write_text("[]"),
        "adapter_config.json is no JSON object",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_adapter_is_refused_before_anything_and_never_measured(kind, base, copy):
    change, message = BROKEN[kind]
    change(copy)
    with pytest.raises(UserError, match=message):
        check(copy, base)
    files = [copy / "adapter_model.safetensors", copy / "adapter_config.json"]
    with pytest.raises((UserError, RuntimeError, ValueError)):
        load_state(spec(base), "none", "adapter", files, CPU)


@pytest.mark.parametrize("kind", [kind for kind in TAUGHT if kind != "large"])
def test_every_form_of_lora_has_its_places(kind, tmp_path):
    build, quantisation, settings = TAUGHT[kind]
    model = save_chat_model(tmp_path / "base", build())
    random_adapter(model, quantisation, tmp_path / "adapter", **settings)
    before = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    fit = check(tmp_path / "adapter", model)
    assert fit.renamed is None
    assert fit.parameters == sum(
        v.numel() for v in load_file(tmp_path / "adapter" / "adapter_model.safetensors").values()
    )
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == before


FRONTS = {
    "without its beginning": ("base_model.model.", ""),
    "of a class that sees": ("base_model.model.model.", "base_model.model.model.language_model."),
    "of one before": ("base_model.model.model.", "base_model.model.language_model.model."),
}


@pytest.mark.parametrize("kind", FRONTS)
def test_names_that_differ_in_front_alone_are_mapped_and_told(kind, base, whole, copy, capsys):
    right, front = FRONTS[kind]
    edit_tensors(copy, lambda tensors: {k.replace(right, front, 1): v for k, v in tensors.items()})
    fit = check(copy, base)
    assert front + "layers.0" in fit.renamed or front + "model.layers.0" in fit.renamed
    assert describe_fit(fit, spec(base))["renamed"] == fit.renamed
    assert "differ from the base's in front" in capsys.readouterr().out
    one, other = (load_file(f / "adapter_model.safetensors") for f in (whole, copy))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["gemma3", "mistral3"])
def test_the_language_model_of_a_class_that_sees_takes_an_adapter_of_the_plain_one(kind, tmp_path):
    """Trained on the text class, measured on the class with pictures."""
    base = save_kind(kind, tmp_path / "model")
    vision = load_model(ModelSpec(id=str(base)), "none", CPU)
    text = AutoModelForCausalLM.from_config(vision.config.get_text_config())
    adapted = get_peft_model(text, LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    adapted.save_pretrained(tmp_path / "adapter")
    edit_config(tmp_path / "adapter", target_modules=r".*language_model.*(q_proj|up_proj)")
    assert "language_model" in check(tmp_path / "adapter", base).renamed
    state = [tmp_path / "adapter" / f"adapter_{f}" for f in ("model.safetensors", "config.json")]
    one = log_probabilities(load_state(spec(base), "none", "adapter", state, CPU))
    assert not torch.allclose(one, log_probabilities(vision), atol=1e-2)


def test_a_base_that_differs_is_told(base, copy, tmp_path, capsys):
    assert describe_fit(check(copy, base), spec(base)).keys() == {"parameters"}
    assert "was trained on" not in capsys.readouterr().out
    edit_config(copy, base_model_name_or_path="someone/other-7B")
    told = describe_fit(check(copy, base), spec(base))
    assert told["trained_on"] == "someone/other-7B"
    record = tmp_path / "given" / "adapter.json"
    record.parent.mkdir()
    record.write_text(json.dumps(told))
    inputs = SimpleNamespace(models=[], adapters=[record])
    (facts,) = model_facts(ReportSources(None, inputs))
    assert facts["name"] == "adapter of given"
    assert ("trained on", "someone/other-7B") in facts["facts"]
    assert (
        "the adapter was trained on someone/other-7B, and the run's model is"
        in capsys.readouterr().out
    )


def test_an_adapter_from_before_experts_were_one_tensor(tmp_path):
    """Mixtral's w1, w2 and w3 of each expert, which PEFT puts together when it loads them."""
    model = save_chat_model(tmp_path / "base", mixtral())
    tensors = {}
    torch.manual_seed(0)
    shapes = {"w1": (32, 64), "w2": (64, 32), "w3": (32, 64)}
    for layer in range(2):
        for expert in range(4):
            for part, (width, out) in shapes.items():
                name = f"{FRONT}model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}"
                tensors[f"{name}.lora_A.weight"] = torch.randn(4, width)
                tensors[f"{name}.lora_B.weight"] = torch.randn(out, 4)
    folder = tmp_path / "adapter"
    LoraConfig(r=4, target_modules=["w1", "w2", "w3"], task_type="CAUSAL_LM").save_pretrained(
        folder
    )
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    assert check(folder, model).renamed is None
    state = [folder / "adapter_model.safetensors", folder / "adapter_config.json"]
    load_state(spec(model), "none", "adapter", state, CPU)
    edit_tensors(folder, lambda found: some(found, lambda name: "layers.0" in name))
    with pytest.raises(UserError, match="without a tensor"):
        check(folder, model)
