"""The smoke variant of an experiment: the whole DAG in a minute or two on a laptop."""

from snaketune.config.dataset import DatasetSpec
from snaketune.config.evaluation import EvalSpec, SampleSpec
from snaketune.config.experiment import Experiment
from snaketune.config.model import ModelSpec
from snaketune.config.preset import Preset

ROWS, REPLIES, NEW_TOKENS, STEPS, BATCH = 48, 4, 16, 3, 4
TASK_MODEL, JUDGE_MODEL = "data/demo/model", "data/demo/judge"


def smoke(experiment: Experiment) -> Experiment:
    """The experiment with few rows, steps and tokens, and the demo's models in place of its own.

    What runs change of an eval is left as it is; `small_eval` is applied after the change.
    """
    judges = {e.judge.model for e in experiment.evals.values() if e.judge}
    return experiment.model_copy(
        update={
            "models": {
                name: _demo_model(spec, JUDGE_MODEL if name in judges else TASK_MODEL)
                for name, spec in experiment.models.items()
            },
            "datasets": {k: _few_rows(v) for k, v in experiment.datasets.items()},
            "presets": {k: _few_steps(v) for k, v in experiment.presets.items()},
            "totals": {},
        }
    )


def small_eval(spec: EvalSpec) -> EvalSpec:
    """The eval on a few records, with short replies."""
    return spec.model_copy(
        update={
            "sample": SampleSpec(count=REPLIES),
            "max_new_tokens": min(spec.max_new_tokens, NEW_TOKENS),
            "backend": "transformers",
        }
    )


def _demo_model(spec: ModelSpec, folder: str) -> ModelSpec:
    return spec.model_copy(
        update={"id": folder, "revision": None, "dtype": "auto", "trust_remote_code": False}
    )


def _few_rows(spec: DatasetSpec) -> DatasetSpec:
    return spec.model_copy(update={"limit": ROWS, "dev": min(spec.dev, REPLIES)})


def _few_steps(preset: Preset) -> Preset:
    small = min(preset.batch_size, BATCH)
    return preset.model_copy(update={"max_steps": STEPS, "batch_size": small, "accumulation": 1})
