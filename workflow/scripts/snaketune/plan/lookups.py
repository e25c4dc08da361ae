"""What the rules look up by their wildcards: settings and identities of what has a name.

An identity is a plain value that changes with the result; Snakemake compares it. Models and
adapters are known by their content and their files are no inputs: a fresh checkout, or a folder
that was moved, is the same model. A job gets the settings that it works by beside it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snaketune.config.dataset import DatasetSpec
from snaketune.config.eval_checks import asks_for_numbers, shows_options
from snaketune.config.experiment import Experiment
from snaketune.config.model import Quantisation
from snaketune.data import steps
from snaketune.models.content import content_of_adapter, model_identity
from snaketune.plan.experiment_plan import Cell, Plan
from snaketune.plan.protocols import reward_model
from snaketune.plan.states import (
    WEIGHT_FILES,
    State,
    Weights,
    part_names,
    run_quantisation,
    snapshot_count,
)
from snaketune.plan.table_plan import JOINED

Json = dict[str, Any]


@dataclass(frozen=True)
class Lookup:
    """An experiment, with the GPUs that its trainings take, and its plan."""

    experiment: Experiment
    plan: Plan

    @property
    def folder(self) -> str:
        """Where the results lie."""
        return self.experiment.folder

    # Models and states.

    def pinned_identity(self, model: str) -> Json:
        """What decides a model's commit; one in a folder has none."""
        spec = self.experiment.models[model]
        in_folder = Path(spec.id).is_dir()
        return {} if in_folder else {"id": spec.id, "revision": spec.revision}

    def model_identity(self, model: str) -> Json:
        """What decides what is loaded."""
        return model_identity(self.experiment.models[model])

    def model_settings(self, model: str) -> Json:
        """A model as a job loads it."""
        return self.experiment.models[model].model_dump(mode="json")

    def held_identity(self, model: str, quantisation: Quantisation) -> Json:
        """What identifies a model held in these numbers: how 4 bits are made, where it is 4."""
        left_out = set() if quantisation == "nf4" else {"double_quantisation"}
        return {k: v for k, v in self.model_identity(model).items() if k not in left_out}

    def state_identity(self, state: State) -> Json:
        """What identifies a state but for its run's files."""
        model = self.held_identity(state.model, state.quantisation)
        return {"model": model, "quantisation": state.quantisation, "weights": state.weights}

    def state_settings(self, state: State) -> Json:
        """A state but for its run's files, as a job loads it: see snaketune.inference.session."""
        model = self.model_settings(state.model)
        return {"model": model, "quantisation": state.quantisation, "weights": state.weights}

    # The models that look at replies.

    def judging_state(self, protocol: str) -> State:
        """The judge of a protocol."""
        judge = self.plan.protocols[protocol].judge
        assert judge, "a protocol with a judge"
        quantisation: Quantisation = self.experiment.models[judge.model].quantisation or "none"
        return State(judge.model, quantisation, "none")

    def guideline(self, protocol: str) -> Path:
        """The file that opens the judge's system turn."""
        judge = self.plan.protocols[protocol].judge
        assert judge, "a protocol with a judge"
        return Path(judge.guideline)

    def rewarding_state(self, protocol: str) -> State:
        """The reward model of a protocol."""
        name = reward_model(self.plan.protocols[protocol])
        assert name, "a protocol with a reward model"
        return State(name, "none", "none")

    # Runs.

    def training_identity(self, run: str) -> Json:
        """What decides a run's training but for its rows."""
        spec = self.experiment.runs[run]
        preset = self.experiment.presets[spec.preset or ""]
        model = spec.model or ""
        held_in = run_quantisation(self.experiment.models[model], preset.method)
        return {
            "base": self.held_identity(model, held_in),
            "preset": preset.identity(),
            "seed": spec.seed,
            "snapshots": snapshot_count(self.experiment, spec),
        }

    def training_aside(self, run: str) -> Json:
        """What a training is told that changes no result. What it keeps is no output of its rule:
        one never made would hide all else that changes; see `training_outputs`."""
        spec = self.experiment.runs[run]
        return {
            "kept": f"{self.folder}/train/{run}/kept",
            "keep": self.experiment.presets[spec.preset or ""].keep,
            "report_to": spec.report_to,
            "save_every": 60 * (1.0 if spec.save_every is None else spec.save_every),
            **({"parts": spec.learns_from} if len(spec.parts) > 1 else {}),
            "project": Path(self.folder).name,
        }

    def training_outputs(self, run: str) -> list[str]:
        """The weights that a training leaves. `all` asks for them, and for all tables and figures:
        of a job with an output that was never made, and that nobody asks for, Snakemake looks at no
        params, so that nothing that changes would make it run."""
        parts = part_names(snapshot_count(self.experiment, self.experiment.runs[run]))
        names = ["final", *(f"snapshots/{part}" for part in parts)]
        weights = self.plan.states[run].weights
        folder = f"{self.folder}/train/{run}"
        return [file for name in names for file in weights_in(f"{folder}/{name}", weights)]

    def adapter_made_here(self, run: str) -> list[str]:
        """The files of a run's adapter that another run of this experiment makes, such as a
        snapshot's."""
        folder = os.path.relpath(self.experiment.runs[run].adapter or "")
        here = folder.startswith(os.path.relpath(self.folder) + os.sep)
        return weights_in(folder, "adapter") if here else []

    def adapter_identity(self, run: str) -> Json:
        """What identifies an adapter that was trained elsewhere."""
        spec = self.experiment.runs[run]
        adapter = spec.adapter or ""
        if self.adapter_made_here(run):
            return {"adapter": os.path.relpath(adapter, self.folder)}
        if Path(adapter).is_dir():
            return {"content": content_of_adapter(Path(adapter))}
        return {"adapter": adapter, "revision": spec.adapter_revision}

    def adapter_base(self, run: str) -> Json:
        """The files that an adapter that was trained elsewhere is held against; in which numbers
        they are loaded plays no part."""
        identity = self.model_identity(self.plan.states[run].model)
        return {key: identity[key] for key in ("content", "id", "revision") if key in identity}

    # Pushing.

    def pushed_whole(self, run: str) -> bool:
        """Whether a run is pushed as a model of its own. One that was trained whole is never an
        adapter, and needs its tokenizer beside it."""
        push = self.experiment.runs[run].push
        return (push is not None and push.merged) or self.plan.states[run].weights == "full"

    def about_run(self, name: str) -> Json:
        """What a model card says of a run."""
        run, row = self.experiment.runs[name], self.plan.run_table[name]
        state = self.plan.states[name]
        data = [self.experiment.datasets[part].licence for part in run.learns_from]
        tested = {self.plan.protocols[spec.protocol_name].dataset for spec in row.evals.values()}
        return {
            "run": name,
            "train_data": JOINED.join(run.learns_from) or None,
            "adapter": run.adapter,
            "data_licence": ", ".join(dict.fromkeys(filter(None, data))) or None,
            "method": row.method,
            "weights": state.weights,
            "quantisation": state.quantisation,
            "preset": row.preset,
            "merged": self.pushed_whole(name) and state.weights == "adapter",
            "protocols": {
                key: self.plan.protocols[entry.protocol_name].protocol()
                for key, entry in row.evals.items()
            },
            "datasets": {key: self._origin_of(key) for key in sorted(tested)},
        }

    def _origin_of(self, dataset: str) -> Json:
        """Where a dataset of the hub comes from; nothing of this machine."""
        spec = self.experiment.datasets[dataset]
        if not isinstance(spec.source, str) or not spec.source.startswith("hub:"):
            return {}
        return {"source": spec.source, "subset": spec.subset, "revision": spec.revision}

    # Datasets and token sets.

    def numeric(self, dataset: str) -> bool:
        """Whether every record's answer must be a number."""
        return asks_for_numbers(self.experiment, dataset)

    def training_files(self, dataset: str) -> list[str]:
        """What a dataset's training records are read from: where dev was held out of them, it and
        its places too."""
        held_out = ["dev.parquet", "dev.json"] if self.experiment.datasets[dataset].dev else []
        return [f"{self.folder}/data/{dataset}/{name}" for name in ["train.parquet", *held_out]]

    def compared_with(self, dataset: str, split: str) -> list[str]:
        """What a test split is held against before it is written, where overlaps are left out of
        it."""
        if split != "test" or self.experiment.datasets[dataset].overlap != "drop":
            return []
        names = ("train.parquet", "dev.parquet", "few_shot.json")
        return [f"{self.folder}/data/{dataset}/{name}" for name in names]

    def _few_shot_of_tokens(self, tokens: str) -> dict[str, DatasetSpec]:
        """The datasets whose few-shot examples the evals of a token set's runs show."""
        names = self.plan.tokens[tokens].few_shot
        return {name: self.experiment.datasets[name] for name in names}

    def shown_files(self, tokens: str) -> dict[str, list[str]]:
        """By dataset: the training records that these examples are drawn from."""
        return {
            f"shown_{name}": self.training_files(name)
            for name, spec in self._few_shot_of_tokens(tokens).items()
            if spec.few_shot.file is None
        }

    def shown_places(self, tokens: str) -> dict[str, Json]:
        """Where the files of these datasets lie."""
        shown = self._few_shot_of_tokens(tokens)
        return {name: steps.source_places(spec) for name, spec in shown.items()}

    def shown_with_tokens(self, tokens: str) -> dict[str, Json]:
        """By dataset: how many few-shot examples these evals show, and what decides them. The same
        for every `few_shot.count` that leaves them as they are."""
        shown = {}
        for name, count in sorted(self.plan.tokens[tokens].few_shot.items()):
            spec = self.experiment.datasets[name]
            options, file = shows_options(self.experiment, name), steps.few_shot_content(spec)
            settings = steps.shown_settings(spec, self.numeric(name), options)
            shown[name] = {"count": count, "settings": settings, "file": file}
        return shown

    # Files of a state under a protocol.

    def few_shot_file(self, protocol: str) -> list[str]:
        """The few-shot examples, where the protocol shows some."""
        spec = self.plan.protocols[protocol]
        return [f"{self.folder}/data/{spec.dataset}/few_shot.json"] if spec.few_shot else []

    def shards(self, cell: Cell, ending: str) -> list[str]:
        """Of predictions that are made in parts."""
        parts = part_names(self.plan.protocols[cell.protocol].shards)
        folder = f"{self.folder}/predictions/{cell.state}/{cell.protocol}.shards"
        return [f"{folder}/{part}.{ending}" for part in parts]

    def verdicts(self, cell: Cell, ending: str = "jsonl") -> list[str]:
        """The judge's, where there is one."""
        file = f"{self.folder}/verdicts/{cell.state}/{cell.protocol}.{ending}"
        return [file] if self.plan.protocols[cell.protocol].judge else []

    def rewards(self, cell: Cell, ending: str = "jsonl") -> list[str]:
        """The samples' rewards; those of predictions made elsewhere came with them."""
        file = f"{self.folder}/rewards/{cell.state}/{cell.protocol}.{ending}"
        brought = cell.state in self.plan.brought_states
        return [file] if reward_model(self.plan.protocols[cell.protocol]) and not brought else []

    def snapshot_metrics(self, run: str) -> list[str]:
        """What a snapshot is chosen by."""
        return [
            f"{self.folder}/metrics/{row.state}/{entry.protocol_name}.json"
            for row in self.plan.run_table[run].snapshots
            for entry in row.evals.values()
        ]

    def protocol_settings(self, protocol: str) -> Json:
        """What decides a protocol's figures. The judge's guideline is known by its name: its
        content decides the verdicts, and where it lies nothing."""
        settings = self.plan.protocols[protocol].protocol()
        if judge := settings["judge"]:
            settings["judge"] = judge | {"guideline": Path(judge["guideline"]).name}
        return settings

    # What the artefacts have to say of themselves.

    def expected_settings(self) -> dict[str, Json]:
        """Of trainings, states and protocols, by name: what the tables hold their records to."""
        runs = self.experiment.runs
        return {
            "training": {run: self.training_identity(run) for run in runs if runs[run].train},
            "states": {name: self.state_identity(s) for name, s in self.plan.states.items()},
            "protocols": {name: self.protocol_settings(name) for name in self.plan.protocols},
        }


def weights_in(folder: str, weights: Weights) -> list[str]:
    """The files of a kind of weights."""
    return [f"{folder}/{name}" for name in WEIGHT_FILES[weights]]
