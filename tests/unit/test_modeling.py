"""Loading: checks of a model, NF4 kept and expanded, adapters on the base they know (trap 15)."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tiny_chat import make_model, make_tokenizer, save_chat_model
from transformers import Qwen2ForSequenceClassification, T5Config

from snaketune.config.model import ModelSpec
from snaketune.inference.session import LoadableState, open_session
from snaketune.models import hub, nf4
from snaketune.models.describe import describe_model
from snaketune.models.folder import pinned
from snaketune.models.headers import require_kind
from snaketune.models.load import load_model, load_reward_model, load_state, pick_dtype
from snaketune.models.nf4 import expand_nf4, nf4_layers
from snaketune.prompts.conversation import end_tokens
from snaketune.runtime.errors import UserError

CPU = torch.device("cpu")
IDS = torch.arange(3, 40)[None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_chat_model(tmp_path_factory.mktemp("model"), intermediate_size=128)


@pytest.fixture(scope="module")
def adapter(folder, tmp_path_factory):
    """An adapter with large weights on the NF4 base."""
    base = load_model(spec(folder), "nf4", CPU)
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return [folder / "adapter_model.safetensors", folder / "adapter_config.json"]


def spec(folder, **changes):
    return ModelSpec(id=str(folder), **changes)


def log_probabilities(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits.log_softmax(-1)


def divergence(one, other):
    """Mean KL of `other` from `one`, in nats a token."""
    return float((one.exp() * (one - other)).sum(-1).mean())


def test_a_pass_in_4_bits_has_the_model_s_precision(folder):
    model = load_model(spec(folder), "nf4", CPU)
    in_4_bits = [log_probabilities(model) for _ in range(2)]
    expand_nf4(model, torch.float32)
    for found in in_4_bits:
        torch.testing.assert_close(found, log_probabilities(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("double", [True, False])
def test_expanded_weights_are_those_that_nf4_stands_for(folder, double):
    model = load_model(spec(folder, double_quantisation=double), "nf4", CPU)
    layers = nf4_layers(model)
    assert len(layers) == 14
    expected = {
        name: torch.nn.functional.linear(
            torch.eye(layer.in_features), dequantised(layer), layer.bias
        )
        for name, layer in layers.items()
    }
    assert expand_nf4(model, torch.float32) == 14
    assert nf4_layers(model) == {}
    for name, value in expected.items():
        layer = model.get_submodule(name)
        assert torch.equal(layer(torch.eye(layer.in_features)), value)


def dequantised(layer):
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state)


def test_an_adapter_stays_on_the_nf4_base(folder, adapter):
    """Merging into 4 bits or onto the original weights is another model; onto the de-quantised
    ones it is the same."""
    state = load_state(spec(folder), "nf4", "adapter", adapter, CPU)
    served = log_probabilities(state)
    on_original = log_probabilities(load_state(spec(folder), "none", "adapter", adapter, CPU))
    merged = log_probabilities(state.merge_and_unload())
    assert divergence(served, merged) < 1e-6
    assert divergence(served, on_original) > 1e-3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nf4_weights_are_quantised_once_and_come_back_the_same(folder, cache, monkeypatch):
    monkeypatch.setattr(nf4, "_WORTH", 0)
    first = load_model(spec(folder), "nf4", CPU)
    (kept,) = (cache / "nf4").iterdir()
    assert (kept / "model.safetensors").is_file()
    stamp = (kept / "model.safetensors").stat().st_mtime_ns
    again = load_model(spec(folder), "nf4", CPU)
    assert (kept / "model.safetensors").stat().st_mtime_ns == stamp
    for (name, one), other in zip(
        nf4_layers(first).items(), nf4_layers(again).values(), strict=True
    ):
        assert torch.equal(dequantised(one), dequantised(other)), name
    load_model(spec(folder, double_quantisation=False), "nf4", CPU)
    assert len(list((cache / "nf4").iterdir())) == 2, "other settings are another entry"


def test_an_adapter_trained_on_kept_weights_names_the_model_and_not_the_cache(
    folder, cache, monkeypatch
):
    monkeypatch.setattr(nf4, "_WORTH", 0)
    for _ in range(2):  # quantised and kept, then found
        base = load_model(spec(folder), "nf4", CPU)
        model = get_peft_model(base, LoraConfig(target_modules="all-linear"))
        assert base.name_or_path == base.config._name_or_path == str(folder)
        assert model.peft_config["default"].base_model_name_or_path == str(folder)
    assert len(list((cache / "nf4").iterdir())) == 1


def test_a_changed_model_is_quantised_anew(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(nf4, "_WORTH", 0)
    folder = save_chat_model(tmp_path / "model")
    load_model(spec(folder), "nf4", CPU)
    other = make_model(len(make_tokenizer()))
    with torch.no_grad():
        other.model.embed_tokens.weight.add_(1)
    other.save_pretrained(folder)
    load_model(spec(folder), "nf4", CPU)
    assert len(list((cache / "nf4").iterdir())) == 2


def test_a_cache_that_can_not_be_written_is_no_fault(folder, cache, monkeypatch, capsys):
    monkeypatch.setattr(nf4, "_WORTH", 0)
    cache.write_text("a file, not a folder")
    assert nf4_layers(load_model(spec(folder), "nf4", CPU))
    assert "can't be kept" in capsys.readouterr().err


def test_a_full_disk_keeps_no_weights_and_ends_nothing(folder, cache, monkeypatch, capsys):
    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(nf4, "_WORTH", 0)
    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    assert nf4_layers(load_model(spec(folder), "nf4", CPU))
    assert "No space left" in capsys.readouterr().err


def test_the_record_of_a_model(folder):
    record = describe_model(spec(folder))
    model = make_model(len(make_tokenizer()), intermediate_size=128)
    assert record["parameters"] == sum(p.numel() for p in model.state_dict().values())
    assert record["context_length"] == 512 and record["commit"] is None
    assert [end["token"] for end in record["end_tokens"]] == ["<|endoftext|>", "<|im_end|>"]
    assert len(record["template_hash"]) == 12


def test_what_takes_4_bits_is_told_where_much_does_not(folder, tmp_path, capsys):
    record = describe_model(spec(folder))
    layers = nf4_layers(load_model(spec(folder), "nf4", CPU)).values()
    assert record["nf4_parameters"] == sum(m.in_features * m.out_features for m in layers)
    said = f"{record['nf4_parameters']:,} of the model's {record['parameters']:,}"
    told = said in capsys.readouterr().out
    assert told == (record["nf4_parameters"] < 2 / 3 * record["parameters"])
    capsys.readouterr()
    wide = save_chat_model(tmp_path / "wide", intermediate_size=2048)
    record = describe_model(spec(wide))
    assert 3 * record["nf4_parameters"] > 2 * record["parameters"]
    assert "in NF4" not in capsys.readouterr().out


def changed(tmp_path, **tokenizer_changes):
    folder = tmp_path / "model"
    make_model(300).save_pretrained(folder)
    tokenizer = make_tokenizer()
    for name, value in tokenizer_changes.items():
        setattr(tokenizer, name, value)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_without_safetensors(tmp_path):
    folder = changed(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no model.safetensors .*\['pytorch_model.bin'\]"):
        describe_model(spec(folder))


def test_a_broken_download(tmp_path):
    folder = changed(tmp_path)
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=r"model\.safetensors: found no safetensors file"):
        describe_model(spec(folder))


def edited_config(source, target, **changes):
    shutil.copytree(source, target)
    file = target / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return target


def test_a_file_that_is_shorter_than_its_header_says(tmp_path, folder):
    broken = shutil.copytree(folder, tmp_path / "broken")
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"bytes, expected .* by its header"):
        describe_model(spec(broken))


def test_shapes_that_do_not_fit_the_config(tmp_path, folder):
    broken = edited_config(folder, tmp_path / "broken", intermediate_size=160)
    with pytest.raises(
        UserError, match=r"found shape \[64, 128\], expected \[64, 160\] by its conf"
    ):
        describe_model(spec(broken))


def test_flash_attention_that_is_not_installed(tmp_path, folder):
    broken = edited_config(folder, tmp_path / "broken", attn_implementation="flash_attention_2")
    with pytest.raises(UserError, match=r"can't be made into a model here .*expected"):
        describe_model(spec(broken))


def test_a_model_without_a_template(tmp_path):
    folder = changed(tmp_path, chat_template=None)
    with pytest.raises(UserError, match="no chat template"):
        describe_model(spec(folder))
    assert describe_model(spec(folder), chat=False)["end_tokens"]


LOOPS = {
    "time": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "output": "{% for i in range(99999) %}{{ messages[0].content }} no end {% endfor %}",
}


@pytest.mark.parametrize("kind", LOOPS)
def test_a_chat_template_that_loops(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("snaketune.models.describe._TEMPLATE_SECONDS", 0.5)
    folder = changed(tmp_path, chat_template=LOOPS[kind])
    started = time.process_time()
    with pytest.raises(UserError, match=r"its chat template prints more than .* expected one that"):
        describe_model(spec(folder))
    assert time.process_time() - started < 20


def test_a_shard_that_is_missing_and_a_tokenizer_that_is(tmp_path, folder):
    make_model(len(make_tokenizer())).save_pretrained(tmp_path, max_shard_size="50kB")
    make_tokenizer().save_pretrained(tmp_path)
    describe_model(spec(tmp_path))
    shard = sorted(tmp_path.glob("model-*-of-*.safetensors"))[1]
    shard.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"found no {shard.name}"):
        describe_model(spec(tmp_path))
    (tmp_path / "elsewhere").rename(shard)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="its tokenizer can't be read"):
        describe_model(spec(tmp_path))


def test_a_model_without_an_end_token():
    tokenizer = make_tokenizer(eos_token=None)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    with pytest.raises(UserError, match="model bare: no end token"):
        end_tokens(tokenizer, [], "bare")


def test_kinds_of_models_are_not_mixed_up(tmp_path, folder):
    config = make_model(300).config
    config.num_labels = 3
    Qwen2ForSequenceClassification(config).save_pretrained(tmp_path / "scores")
    make_tokenizer().save_pretrained(tmp_path / "scores")
    with pytest.raises(UserError, match="expected a model that writes text"):
        describe_model(spec(tmp_path / "scores"))
    with pytest.raises(UserError, match="found 3 outputs, expected a reward model with one"):
        describe_model(spec(tmp_path / "scores"), kind="reward")
    with pytest.raises(UserError, match="found Qwen2ForCausalLM, expected a reward model"):
        describe_model(spec(folder), kind="reward")


REWARD = Path(__file__).parents[2] / "data" / "demo" / "reward"


def without(source, target, name):
    """A copy of a model whose files lack one tensor."""
    shutil.copytree(source, target)
    tensors = load_file(target / "model.safetensors")
    del tensors[name]
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return target


def test_a_reward_model_without_a_head(tmp_path):
    assert describe_model(spec(REWARD), kind="reward")["kind"] == "reward"
    load_reward_model(spec(REWARD), CPU)
    bare = without(REWARD, tmp_path / "bare", "score.weight")
    with pytest.raises(UserError, match=r"found no score\.weight in its safetensors files"):
        describe_model(spec(bare), kind="reward")
    with pytest.raises(UserError, match=r"found no score\.weight in its safetensors files"):
        load_reward_model(spec(bare), CPU)


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
def test_weights_that_are_missing_are_not_drawn_at_random(folder, tmp_path, quantisation):
    name = "model.layers.1.mlp.up_proj.weight"
    broken = without(folder, tmp_path / "broken", name)
    with pytest.raises(UserError, match=r"found no model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(spec(broken), quantisation, CPU)


def test_a_head_that_is_the_embedding_is_not_missing(tmp_path):
    save_chat_model(tmp_path, tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    load_model(spec(tmp_path), "none", CPU)


@pytest.mark.parametrize("kind", ["causal", "reward"])
def test_an_encoder_with_a_decoder_is_refused(kind):
    config = T5Config(architectures=["T5ForConditionalGeneration"], num_labels=1)
    with pytest.raises(UserError, match="model t5: found T5ForConditionalGeneration, an encoder"):
        require_kind(config, kind, "t5")


def test_weights_trained_as_a_whole_end_as_their_base(folder, tmp_path):
    """Their folder holds no generation config; what the base's own says counts."""
    base = tmp_path / "base"
    shutil.copytree(folder, base)
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 7]}))
    trained = tmp_path / "full"
    make_model(300).save_pretrained(trained)
    (trained / "generation_config.json").unlink()
    files = [trained / "model.safetensors", trained / "config.json"]
    for state in (
        LoadableState(spec(base), "none", "full", files),
        LoadableState(spec(base), "none", "none", []),
    ):
        assert open_session(state).ends == [0, 2, 7]


def test_a_hub_that_can_not_be_reached_names_the_local_folder(monkeypatch, tmp_path):
    from snaketune.models import folder as module

    def offline(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(module, "snapshot_download", offline)
    with pytest.raises(UserError, match=r"hub can't be reached.*To use a local folder instead"):
        describe_model(ModelSpec(id="Qwen/Qwen2.5-1.5B-Instruct"))


def test_weights_trained_as_a_whole_take_the_place_of_the_base(folder, tmp_path):
    trained = make_model(300, intermediate_size=128)
    with torch.no_grad():
        trained.model.embed_tokens.weight.mul_(1.1)
    trained.save_pretrained(tmp_path / "full")
    files = [tmp_path / "full" / "model.safetensors", tmp_path / "full" / "config.json"]
    state = load_state(spec(folder), "none", "full", files, CPU)
    assert torch.equal(log_probabilities(state), log_probabilities(trained))


def test_the_generation_configs_end_tokens_count(folder):
    class Config:
        eos_token_id = (7, 9)

    assert end_tokens(make_tokenizer(), [Config()], "x") == [0, 2, 7, 9]
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 0


@pytest.mark.parametrize(("able", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_numbers_follow_what_the_gpu_has_and_not_what_it_emulates(monkeypatch, able, dtype):
    """A T4 or V100 computes bfloat16 only in emulation (trap 14)."""
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: able or including_emulation,
    )
    gpu = torch.device("cuda")
    assert pick_dtype("auto", gpu) is dtype
    assert pick_dtype("auto", CPU) is torch.float32
    assert pick_dtype("float32", gpu) is torch.float32


def test_a_model_is_loaded_at_the_commit_that_was_checked(tmp_path):
    record = tmp_path / "m.json"
    for commit, revision in ((None, "main"), ("c0ffee", "c0ffee")):
        record.write_text(json.dumps({"commit": commit}))
        model = {"id": "owner/m", "revision": "main", "dtype": "float32"}
        assert pinned(model, str(record)) == ModelSpec(**model | {"revision": revision})


def test_both_files_of_an_adapter_are_of_one_commit(tmp_path, monkeypatch, capsys):
    asked = []

    def moving_hub(repository, name, revision):
        asked.append((repository, revision))
        file = tmp_path / "snapshots" / (revision or "c0ffee") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        return str(file)

    monkeypatch.setattr(hub, "hf_hub_download", moving_hub)
    fetch = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    hub.fetch_adapter("hub:me/tuned", None, *fetch)
    assert asked == [("me/tuned", None), ("me/tuned", "c0ffee")]
    assert [file.read_text() for file in fetch] == [file.name for file in fetch]
    assert "of commit c0ffee" in capsys.readouterr().out
