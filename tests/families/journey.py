"""A model through all that the workflow does with it, in one process, each step held against plain
transformers and PEFT."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiny
import torch
from families import save_model
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GenerationConfig

from snaketune.config.model import LoraSpec, ModelSpec, Preset
from snaketune.inference.backends.transformers import open_transformers
from snaketune.inference.options import Tree, score_trees
from snaketune.inference.session import GenerationRequest, LoadableState
from snaketune.models.describe import describe_model
from snaketune.models.load import load_model
from snaketune.models.merge import write_merged
from snaketune.runtime.files import read_table
from snaketune.training.assemble import TrainingPlan
from snaketune.training.methods import require_methods
from snaketune.training.run import TrainingOutputs, run_training
from snaketune.training.saving import ADAPTER_FILES, MODEL_FILES

CPU = torch.device("cpu")
METHODS = ("lora", "qlora", "full")
_NEW = 6
_CLOSE = 2e-3
"""Of the largest number: float32, in other orders."""


def plain_model(folder: Path) -> Any:
    """As plain transformers loads it, in float32. Where the CPU multiplies bfloat16, bitsandbytes
    would pack 4-bit layers anew and compute in that; narrow ones fail."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model


@dataclass
class Journey:
    """One family by one method."""

    name: str
    method: str
    folder: Path
    changes: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        self.base = save_model(self.name, self.folder / "base", **self.changes)
        self.spec = ModelSpec(id=str(self.base))
        self.rows = tiny.make_rows(4, longest=24)
        self.rng = random.Random(2)

    def run(self) -> None:
        """All steps; each raises where something is not right."""
        describe_model(self.spec)
        require_methods(self.spec, [self._asked()])
        self._train()
        self._generate()
        self._score_options()
        self._merge()

    def _asked(self) -> dict[str, Any]:
        """The method as rule `model` hands it on."""
        if self.method == "full":
            return {"method": self.method}
        lora = LoraSpec.model_validate(self.lora)
        return {
            "method": self.method,
            "lora": lora.model_dump(include={"targets", "dropout", "dora"}),
        }

    def _train(self) -> None:
        tiny.write_rows(self.folder / "train.parquet", self.rows)
        tiny.write_rows(self.folder / "dev.parquet", [])
        preset = {"method": self.method, "batch_size": 4, "epochs": 2, "learning_rate": 5e-3}
        preset |= {"lora": self.lora} if self.lora else {}
        weights, config = MODEL_FILES if self.method == "full" else ADAPTER_FILES
        final = self.folder / "final"
        out = TrainingOutputs(
            final / weights,
            final / config,
            [],
            [],
            [],
            self.folder / "log.parquet",
            self.folder / "meta.json",
        )
        plan = TrainingPlan(self.spec, Preset.model_validate(preset), 1)
        data = [self.folder / f"{split}.parquet" for split in ("train", "dev")]
        run_training(plan, *data, out, self.folder / "work", threads=1)
        self.files = [out.weights, out.config]
        (first, *_) = read_table(out.log).column("loss").to_pylist()
        expected = self._loss(self._plain_base())
        assert abs(first - expected) < 1e-3 * max(1, expected), (first, expected)

    def _plain_base(self) -> Any:
        """For qlora with the numbers that NF4 stands for, in layers of the kind that they were."""
        if self.method != "qlora":
            return plain_model(self.base)
        from snaketune.models.nf4 import expand_nf4

        model = load_model(self.spec, "nf4", CPU)
        expand_nf4(model, torch.float32)
        return model

    def plain_state(self) -> Any:
        """The trained state without this project's code above the base."""
        if self.method == "full":
            return AutoModelForCausalLM.from_pretrained(self.folder / "final", dtype="auto").eval()
        return PeftModel.from_pretrained(self._plain_base(), str(self.folder / "final")).eval()

    @torch.no_grad()
    def _loss(self, model: Any) -> float:
        """The mean over all trained tokens, a row at a time."""
        total, count = 0.0, 0
        for row in self.rows:
            ids = torch.from_numpy(row.input_ids)[None]
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
            labels = torch.from_numpy(row.labels)[1:]
            total += float(F.cross_entropy(logits, labels, reduction="sum"))
            count += int((labels != -100).sum())
        return total / count

    def _generate(self) -> None:
        weights = "full" if self.method == "full" else "adapter"
        held = "nf4" if self.method == "qlora" else "none"
        self.state = LoadableState(self.spec, held, weights, self.files)
        self.session = open_transformers(self.state)
        prompts = [self._tokens(n) for n in (3, 11, 20)]
        shared = self._tokens(40)
        asked = [
            GenerationRequest(i, str(i), shared + prompt, _NEW, [0])
            for i, prompt in enumerate(prompts)
        ]
        found = {reply.index: reply.tokens for reply in self.session.generate(asked, 3, None)}
        plain = self.plain_state()
        config = GenerationConfig(
            max_new_tokens=_NEW, do_sample=False, eos_token_id=self.session.ends, pad_token_id=0
        )
        for ask in asked:
            ids = torch.tensor([ask.tokens])
            out = plain.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
            )
            assert found[ask.index] == out[0, ids.shape[1] :].tolist(), "replies differ"

    def _tokens(self, count: int) -> list[int]:
        return [self.rng.randrange(6, 320) for _ in range(count)]

    @torch.no_grad()
    def _score_options(self) -> None:
        trees = [
            Tree(self._tokens(stem), [self._tokens(n) for n in (1, 3, 4)], [0, 0, 0])
            for stem in (5, 12)
        ]
        plain = self.plain_state()
        for found in score_trees(self.session.model, self.session.engine, trees):
            tree = trees[found.index]
            for branch, value in zip(tree.branches, found.sums, strict=True):
                ids = torch.tensor([tree.stem + branch])
                gains = plain(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
                at = len(tree.stem)
                wanted = float(gains[at - 1 :].gather(1, ids[0, at:, None]).sum())
                assert abs(value - wanted) < _CLOSE * max(1, abs(wanted)), "options differ"

    @torch.no_grad()
    def _merge(self) -> None:
        merged = self.folder / "merged"
        write_merged(self.spec, self.state.quantisation, self.state.weights, self.files, merged)
        one = self.plain_state()
        other = AutoModelForCausalLM.from_pretrained(merged, dtype="auto").eval()
        ids = torch.tensor([self._tokens(30)])
        a, b = (model(input_ids=ids, use_cache=False).logits for model in (one, other))
        assert float((a - b).abs().max()) < _CLOSE * max(1, float(a.abs().max())), "merged differs"
