"""`merge_all` and `push_all`: whole models beside adapters, and nothing unless it is asked for."""

from pathlib import Path

import torch
import yaml
from conftest import Project
from transformers import AutoModelForCausalLM, AutoTokenizer
from upload_hub import serve_uploads

from snaketune.config.model import ModelSpec
from snaketune.models.load import load_model, load_state

TOKEN = "hf_" + "s" * 34
TRAINED = {"max_steps": 2, "batch_size": 4, "max_length": 512, "learning_rate": 1e-2}
CONFIG = {
    "experiment": "pushed",
    "models": {"tiny": {"id": "data/demo/model"}},
    "datasets": {"problems": {"source": "data/demo/math", "format": "gsm8k"}},
    "presets": {
        "adapter": {"method": "qlora", **TRAINED},
        "whole": {"method": "full", **TRAINED, "learning_rate": 1e-4},
    },
    "evals": {
        "math": {
            "task": "math", "dataset": "problems", "sample": {"count": 4}, "max_new_tokens": 8,
        }
    },
    "runs": {
        name: {"model": "tiny", "preset": name, "train": "problems", "push": "me/tuned-{run}"}
        for name in ("adapter", "whole")
    },
}  # fmt: skip
TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}


@torch.no_grad()
def log_probabilities(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=torch.arange(3, 60)[None]).logits.float().log_softmax(-1)


def test_models_are_merged_and_pushed_only_when_asked(project: Project) -> None:
    (project.folder / "pushed.yaml").write_text(yaml.safe_dump(CONFIG))
    planned = project.planned("--configfile", "pushed.yaml")
    assert planned and not {"merge", "push"} & planned.keys(), "a default run pushes nothing"
    with serve_uploads() as hub:
        environment = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN}
        arguments = ("merge_all", "push_all", "--configfile", "pushed.yaml")
        done = project.snakemake(*arguments, **environment)
        assert done.returncode == 0, done.stdout[-6000:]
    folder = project.folder / "results/pushed"
    assert hub.tokens == {f"Bearer {TOKEN}"} and TOKEN not in done.stdout
    assert not [f for f in folder.rglob("*.json") if TOKEN in f.read_text()]
    adapter, whole = hub.files["me/tuned-adapter"], hub.files["me/tuned-whole"]
    assert set(adapter) == {"README.md", "adapter_model.safetensors", "adapter_config.json"}
    assert {"README.md", "model.safetensors", "config.json", *TOKENIZER} <= set(whole)
    assert b"fine-tuned: an adapter (qlora), on `problems`" in adapter["README.md"]
    assert b"greedy, at most 8 new tokens" in whole["README.md"]
    check_merged(project.folder, folder, "adapter")
    check_merged(project.folder, folder, "whole")


def divergence(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean KL divergence of two distributions, [rows, positions, tokens] in logarithms."""
    return float((one.exp() * (one - other)).sum(-1).mean())


def check_merged(project: Path, folder: Path, run: str) -> None:
    """The folder loads by itself, and says what the state says."""
    spec = ModelSpec(id=str(project / "data/demo/model"))
    quantisation = "nf4" if run == "adapter" else "none"
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged" / run, dtype="float32").eval()
    final = folder / "train" / run / "final"
    if run == "adapter":
        files = [final / "adapter_model.safetensors", final / "adapter_config.json"]
        state = load_state(spec, quantisation, "adapter", files, torch.device("cpu"))
    else:
        files = [final / "model.safetensors", final / "config.json"]
        state = load_state(spec, quantisation, "full", files, torch.device("cpu"))
    expected, found = log_probabilities(state), log_probabilities(merged)
    base = log_probabilities(load_model(spec, quantisation, torch.device("cpu")))
    # The base is kept in 16 bits, and so is what is merged into it.
    off, learned = divergence(expected, found), divergence(expected, base)
    assert off < 1e-3 and off < learned / 5
    tokenizer = AutoTokenizer.from_pretrained(folder / "merged" / run)
    assert tokenizer.chat_template
