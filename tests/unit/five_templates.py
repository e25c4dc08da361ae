"""The same data under five kinds of chat template: accuracy of the demo's verifier after the same
training, by kind."""

from pathlib import Path

from test_prompt_templates import KINDS

from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import ModelSpec, Preset
from snaketune.data.example import read_examples
from snaketune.inference.score_options import OptionsProtocol, score_options
from snaketune.inference.session import LoadableState
from snaketune.models.folder import load_tokenizer
from snaketune.plan.states import WEIGHT_FILES
from snaketune.prompts.form import Form
from snaketune.prompts.tokenise import RowLimits, tokenise
from snaketune.prompts.wording import options_protocol
from snaketune.runtime.files import read_jsonl
from snaketune.training.assemble import TrainingPlan
from snaketune.training.run import TrainingOutputs, run_training

TEMPLATES = {
    "plain": KINDS["plain"][0],
    "space": KINDS["space"][0],
    "empty thought": KINDS["empty thought (Qwen3)"][0],
    "system only with the last user turn": """\
{% if messages[0].role == 'system' %}{% set first = messages[0].content %}\
{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}{% for m in turns %}\
<|im_start|>{{ m.role }}
{{ first + '\n\n' if m.role == 'user' and loop.last and first is defined }}{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}""",
    "thought opened by the prompt": KINDS["opened, not printed (R1-Distill)"][0],
}
SYSTEM = "Is the solution correct (0) or flawed (1)? Answer with one label: 0 or 1."
PROMPT = "### Problem:\n{question}\n\n### Solution:\n{context}"
LABELS = ["0", "1"]


def accuracy(model: Path, template: str, data: Path, work: Path, preset: Preset) -> float:
    """Share of the test split that the model gets right, read as an eval reads it."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "chat.jinja").write_text(template)
    spec = ModelSpec(id=str(model), chat_template=str(work / "chat.jinja"))
    words = {"task": "classification", "system": SYSTEM, "prompt": PROMPT}
    files = {split: data / f"{split}.parquet" for split in ("train", "dev")}
    limits = RowLimits(preset.max_length, preset.overlong)
    tokenise(files, [], load_tokenizer(spec), Form(**words), limits, work / "tokens")
    final, kind = work / "final", "full" if preset.method == "full" else "adapter"
    weights = [final / name for name in WEIGHT_FILES[kind]]
    run_training(
        TrainingPlan(spec, preset, seed=42, snapshots=0),
        work / "tokens" / "train.parquet",
        work / "tokens" / "dev.parquet",
        TrainingOutputs(*weights, [], [], [], work / "log.parquet", work / "meta.json"),
        work / "work",
    )
    asked = EvalSpec(**words, dataset="d", classes={"labels": LABELS})
    score_options(
        LoadableState(spec, "none", kind, weights),
        OptionsProtocol(**options_protocol(asked)),
        data / "test.parquet",
        work / "scoring",
        work / "scores.jsonl",
        work / "scores.json",
    )
    gold = {e.id: e.label for e in read_examples(data / "test.parquet")}
    found = [
        LABELS[max(range(2), key=row["sums"].__getitem__)] == gold[row["id"]]
        for row in read_jsonl(work / "scores.jsonl")
    ]
    return sum(found) / len(found)
