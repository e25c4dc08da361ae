"""What gets an adapter and what none: dense layers and shared experts beside experts that are one
tensor, what PEFT reads of it, and how training and report tell it."""

import html
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from synthetic_results import make_report_inputs

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from families import make_model, save_model

from snaketune.config.model import LoraSpec, ModelSpec, Preset
from snaketune.report.page import render_page
from snaketune.report.sources import ReportSources
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_json
from snaketune.training.trainable import adapter_table, build_trainable, with_adapter

CPU, IDS = torch.device("cpu"), torch.arange(6, 40)[None]
DENSE = [f"mlp.{part}_proj" for part in ("gate", "up", "down")]


def table(name, **lora):
    model = make_model(name)
    adapted = with_adapter(model, ModelSpec(id="m"), LoraSpec.model_validate(lora))
    return adapted, adapter_table(model)


def names(rows):
    return [row["modules"] for row in rows]


@pytest.mark.parametrize(
    ("family", "beside"),
    [
        ("DeepSeek-V3", [*DENSE, *(n.replace("mlp", "mlp.shared_experts") for n in DENSE)]),
        ("Qwen3-Next", [n.replace("mlp", "mlp.shared_expert") for n in DENSE]),
        ("Llama 4", ["feed_forward.shared_expert.up_proj", "feed_forward.down_proj"]),
    ],
)
def test_dense_layers_and_shared_experts_get_an_adapter_too(family, beside, tmp_path):
    adapted, found = table(family)
    assert set(beside) <= set(names(found["adapters"]))
    assert not set(beside) & set(names(found["without_adapter"]))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert sum(row["parameters"] for row in found["adapters"]) == trained
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
        adapted.save_pretrained(tmp_path)
        again = PeftModel.from_pretrained(make_model(family), str(tmp_path))
        ours, theirs = (m.eval()(input_ids=IDS).logits for m in (adapted, again))
        base = make_model(family)(input_ids=IDS).logits
    torch.testing.assert_close(theirs, ours)
    assert (ours - base).abs().max() > 0.1


def test_named_targets_reach_them_too():
    _, found = table("DeepSeek-V3", targets=["gate_proj", "up_proj", "down_proj"])
    assert set(DENSE) <= set(names(found["adapters"]))
    assert "self_attn.o_proj" in names(found["without_adapter"])
    _, found = table("DeepSeek-V3", targets=["o_proj"])
    assert found["adapters"] == [{"modules": "self_attn.o_proj", "count": 2, "parameters": 2048}]
    assert "mlp.experts.gate_up_proj" in names(found["without_adapter"])


def test_in_4_bits_they_get_none_and_that_is_told(tmp_path, capsys):
    spec = ModelSpec(id=str(save_model("DeepSeek-V3", tmp_path)))
    _, causal = build_trainable(spec, Preset(method="qlora"), 1, CPU)
    found = adapter_table(causal)
    assert "note: 6 layers get no adapter, first model.layers.0.mlp.gate_proj" in (
        capsys.readouterr().out
    )
    left = {row["modules"]: row["parameters"] for row in found["without_adapter"]}
    assert left["mlp.gate_proj"] == 32 * 64, "its numbers, not the bytes that hold them"
    assert set(DENSE) <= set(left)


def test_experts_that_get_none_are_counted():
    """Of gpt-oss PEFT knows no names of the single experts."""
    _, found = table("GPT-OSS")
    experts = 2 * 4 * 32 * 128
    assert {"modules": "mlp.experts.gate_up_proj", "count": 2, "parameters": experts} in (
        found["without_adapter"]
    )


def test_every_linear_layer_stands_on_one_side():
    for family, last in (("GPT-2", "lm_head"), ("Mamba", "lm_head"), ("Qwen2", "lm_head")):
        _, found = table(family)
        assert not set(names(found["adapters"])) & set(names(found["without_adapter"]))
        assert names(found["without_adapter"])[-1] == last
    assert table("Qwen2")[1]["adapters"][0] == {
        "modules": "self_attn.q_proj", "count": 2, "parameters": 2 * 16 * (32 + 32),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (
            {"dropout": 0.1},
            r"lora\.dropout: found 0\.1, but experts of m are .* expected 0, or",
        ),
        ({"dora": True}, r"lora\.dora: found true, but experts of m are .* expected false, or"),
    ],
)
def test_what_adapters_of_experts_lack_is_named_with_what_has_it(lora, said):
    with pytest.raises(UserError, match=said):
        table("Qwen3-MoE", **lora)
    _, found = table("Qwen3-MoE", **lora, targets=["q_proj", "k_proj", "v_proj", "o_proj"])
    assert len(found["adapters"]) == 4
    table("GPT-OSS", **lora)


def test_the_report_has_a_table_for_runs_that_are_alike(tmp_path):
    plan, inputs = make_report_inputs(tmp_path)

    def page(found):
        for file in inputs.train_meta:
            write_json(file, json.loads(file.read_text()) | found)
        text = render_page(ReportSources(plan, replace(inputs), {"simple": "LoRA 8"}), {})
        return html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text)))

    assert "What got an adapter" not in page({})
    rows = [{"modules": "self_attn.q_proj", "count": 24, "parameters": 1_203_000}]
    left = [{"modules": "mlp.experts.up_proj", "count": 24, "parameters": 12_500_000_000}]
    text = page({"adapters": rows, "without_adapter": left})
    assert text.count("layers with an adapter") == 1
    assert "LoRA 8, medium: 1.2 M trained parameters" in text or "medium, LoRA 8: 1.2 M" in text
    assert "self_attn.q_proj × 24 1.2 M" in text
    assert "experts without one their parameters mlp.experts.up_proj × 24 12.5 B" in text
