"""The examples of docs/extend.md, as they stand there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"


def example(title):
    """The Python block of a section."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def test_a_backend_of_your_own(tmp_path, monkeypatch):
    from tiny_chat import questions, save_chat_model

    from snaketune.config.model import ModelSpec
    from snaketune.inference import backends
    from snaketune.inference.session import LoadableState, open_session

    (tmp_path / "hf_generate.py").write_text(example("A backend of your own"))
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    save_chat_model(tmp_path / "model")
    state = LoadableState(ModelSpec(id=str(tmp_path / "model")), "none", "none", [])

    def replies(name):
        session = open_session(state, name)
        prompts = session.tokenizer(questions(4))["input_ids"]
        found = list(session.replies(prompts, 6, "auto"))
        assert "seconds" in session.meta([{"finish": text.finish} for text in found])
        return sorted((text.index, text.tokens, text.finish) for text in found)

    assert replies("hf_generate") == replies("transformers")


USES_FORMAT = """
from pathlib import Path
from snaketune.config.dataset import DatasetSpec
from snaketune.data.example import read_examples
from snaketune.data.prepare import prepare_split

spec = DatasetSpec(source="problems.csv", format="svamp", rejected_at_most=1)
prepare_split(spec, "train", Path("d"))
(only,) = read_examples(Path("d/train.parquet"))
print(spec.task, only.id, only.question, only.gold, sep="|")
"""


def test_a_format_of_your_own(tmp_path):
    """In a copy of the library, as the config lists the formats when it is imported."""
    library = tmp_path / "snaketune"
    shutil.copytree(PAGE.parents[1] / "workflow/scripts/snaketune", library)
    (library / "data/formats/svamp.py").write_text(example("A format of your own"))
    rows = ["ID,Body,Question,Answer", "c-1,Ed has 3 hats.,How many?,3.0", "c-2,B,Q,x"]
    (tmp_path / "problems.csv").write_text("\n".join(rows))
    command = [sys.executable, "-c", USES_FORMAT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[0] == "train: 2 in, 1 out, rejected no_number: 1"
    assert told[-1] == "math|c-1|Ed has 3 hats. How many?|3"


USES_TASK = """
import json
from pathlib import Path
from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example, write_examples
from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.runtime.files import write_jsonl
from snaketune.tables.aggregate import aggregate
from snaketune.tables.sources import read_sources
from snaketune.config.base import TASKS
from snaketune.tasks.measure import measure

spec = EvalSpec(task="mentions", dataset="d")
write_examples(Path("d.parquet"), [Example(k, "Who?", gold="Ada") for k in "ab"])
for state, outputs in {"base": ["ADA!", "no"], "run": ["It was Ada.", "ada"]}.items():
    lines = [{"id": k, "output": o, "finish": "stop"} for k, o in zip("ab", outputs)]
    write_jsonl(Path(f"{state}.jsonl"), lines)
    scores, metrics = Path(f"scores/{state}/e.parquet"), Path(f"metrics/{state}/e.json")
    names = {"state": state, "eval_name": "e", "protocol_name": "e"}
    measure(Path("d.parquet"), Path(f"{state}.jsonl"), None, scores, metrics, **names,
            protocol=spec.protocol())
evals = {"e": EvalPlan(spec.measured_as, "e", TASKS[spec.measured_as].primary)}
run = RunPlan("run", "run", "base", "m", None, "adapter", None, {}, {}, evals, [], [], None,
              {"e.accuracy": 0.9}, {"e": 2})
sources = read_sources(Path("metrics").glob("*/*"), Path("scores").glob("*/*"), [], [])
aggregate(TablePlan("x", [run], {}), sources, Path("tables"))
print(json.dumps(json.loads(Path("tables/final_metrics.json").read_text())["runs"][0]["evals"]))
print(Path("tables/comparisons.csv").read_text().splitlines()[1])
"""


def test_a_task_of_your_own(tmp_path):
    """In a copy of the library, as the config lists the tasks when it is imported."""
    library = tmp_path / "snaketune"
    shutil.copytree(PAGE.parents[1] / "workflow/scripts/snaketune", library)
    (library / "tasks/mentions.py").write_text(example("A task of your own"))
    command = [sys.executable, "-c", USES_TASK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    evals, compared = done.stdout.splitlines()
    assert '"counts": {"correct": 2, "total": 2}' in evals
    assert compared.startswith("run,base,e,accuracy,all,e,2,0,0.5,1.0,0.5,")
