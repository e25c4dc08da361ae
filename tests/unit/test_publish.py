"""Model cards, and uploads to a local server that speaks the part of the hub's interface that an
upload uses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from upload_hub import serve_uploads
from verdict_cases import case, missing, shares

from snaketune.config.evaluation import EvalSpec
from snaketune.report.card import eval_results, model_card
from snaketune.runtime.errors import in_markdown
from snaketune.tables.verdict import verdict_on

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
TOKEN = "hf_" + "s" * 34
BASE = {"id": "owner/base", "folder": None, "commit": "c0ffee"}
EVALS = {
    "math": EvalSpec(
        task="math",
        dataset="problems",
        few_shot=3,
        max_new_tokens=64,
        sample={"count": 320},
        prompt="Solve:\n{question} |",
    ),
    "safety": EvalSpec(task="math", dataset="problems", sampling={"samples": 4, "at": [1]}),
}
ABOUT = {
    "run": "simple",
    "datasets": {
        "problems": {"source": "hub:openai/gsm8k", "subset": "main", "revision": "c0ffee"}
    },
    "train_data": "problems",
    "adapter": None,
    "data_licence": "MIT",
    "method": "qlora",
    "weights": "adapter",
    "quantisation": "nf4",
    "preset": {"epochs": 1.0, "lora": {"r": 8, "targets": ["q", "v"]}},
    "merged": False,
    "protocols": {name: spec.protocol() for name, spec in EVALS.items()},
}


@pytest.fixture
def hub():
    with serve_uploads() as server:
        yield server


def upload(hub, folder, token=TOKEN, card="# card", beside=None, **settings):
    """In a process of its own: the library reads its address when it is imported."""
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    spec = {"repo": "me/tuned", "private": True, "merged": False}
    code = (
        "import json, sys; from pathlib import Path\n"
        "from snaketune.models.hub import files_in, push_to_hub\n"
        "from snaketune.runtime.errors import UserError\n"
        "try:\n"
        f"    files = files_in([Path('adapter')])\n"
        f"    print(json.dumps(push_to_hub({spec!r}, files, {card!r}, {beside!r})))\n"
        "except UserError as error: sys.exit(str(error))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(folder / "home"),
        "PYTHONPATH": str(SCRIPTS),
        **({"HF_TOKEN": token} if token else {}),
        **settings,
    }
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_files_and_card_go_up_in_one_commit(hub, tmp_path):
    done = upload(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    files = hub.files["me/tuned"]
    assert sorted(files) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert files["README.md"] == b"# card"
    assert files["adapter_model.safetensors"] == b"\0" * 100
    assert hub.made[0]["visibility"] == "private"
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert json.loads(done.stdout)["commit"] == "c0ffee"
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "refuse", "expected"),
    [
        ({"token": None}, False, "found no token, expected one in the environment (HF_TOKEN)"),
        ({}, True, "push to me/tuned: the hub answered 403"),
        ({"HF_HUB_OFFLINE": "1"}, False, "the hub can't be reached"),
    ],
)
def test_what_keeps_an_upload_from_going_through_is_said_in_a_line(
    hub, tmp_path, settings, refuse, expected
):
    hub.refuse = refuse
    done = upload(hub, tmp_path, **settings)
    assert done.returncode == 1
    assert expected in done.stderr and "Traceback" not in done.stderr
    assert TOKEN not in done.stderr and hub.files == {}


@pytest.fixture
def written(tmp_path):
    """`written(about, base)` is the card of the run `simple`."""
    found = {"metric": "accuracy", "value": 0.75, "low": 0.7, "high": 0.8, "n": 320}
    found["protocol_hash"] = "abc123"
    run = {
        "run": "simple",
        "evals": {"math": found, "safety": found | {"value": None, "low": None, "n": 0}},
        "base_evals": {"math": found | {"value": 0.5}},
        "verdicts": {
            "math": verdict_on(case(shares(320, 160, 90, 10), content=shares(320, 170, 80, 10))),
            "safety": verdict_on(case(missing(320))),
        },
    }
    (tmp_path / "final.json").write_text(json.dumps({"experiment": "demo", "runs": [run]}))
    (tmp_path / "comparisons.csv").write_text(
        "run,eval,metric,subset,p\nsimple,math,accuracy,all,0.00012\nother,math,accuracy,all,0.5\n"
        "simple,math,accuracy,answer=short,0.7\n"
    )

    def write(about=ABOUT, base=BASE):
        (tmp_path / "base.json").write_text(json.dumps(base))
        files = (tmp_path / name for name in ("final.json", "comparisons.csv", "base.json"))
        return model_card(*files, "simple", about)

    return write


def test_the_card_says_whether_it_helped_in_the_verdicts_words(written):
    text = written()
    said = verdict_on(case(shares(320, 160, 90, 10), content=shares(320, 170, 80, 10)))
    assert f"- **math**: {in_markdown(said['sentence'])}" in text
    assert "- **safety**: No verdict: " in text


def test_the_hub_reads_the_model_index(written):
    """By its own parser: a figure with its interval, n, base, difference and p."""
    results = ModelCard(written()).data.eval_results
    assert [found.metric_value for found in results] == [0.75], "what is missing is in none"
    found = results[0]
    assert (found.task_type, found.task_name) == ("text-generation", "math")
    assert (found.dataset_type, found.dataset_config) == ("openai/gsm8k", "main")
    assert (found.dataset_split, found.dataset_revision) == ("test", "c0ffee")
    args = found.metric_args
    assert (args["low"], args["high"], args["n"], args["base"]) == (0.7, 0.8, 320, 0.5)
    assert args["verdict"] == "better" and args["p"] < 1e-9
    assert args["difference_low"] < args["difference"] == 0.25 < args["difference_high"]


def test_leaderboards_read_the_results(written, tmp_path):
    """By the library's own parser; of a dataset that is not on the hub there are none."""
    written()
    text = eval_results(tmp_path / "final.json", "simple", ABOUT)
    entry, *others = parse_eval_result_entries(yaml.safe_load(text))
    assert not others
    assert (entry.dataset_id, entry.task_id, entry.value) == ("openai/gsm8k", "main", 75.0)
    assert entry.dataset_revision == "c0ffee"
    assert entry.notes.startswith(
        "accuracy, 95 % interval 0.700 to 0.800, n 320, protocol abc123. "
    )
    assert "Better: accuracy from 50.0 % to 75.0 %, +25.0 points" in entry.notes
    own = ABOUT | {"datasets": {"problems": {}}}
    assert eval_results(tmp_path / "final.json", "simple", own) is None
    assert ModelCard(written(own)).data.eval_results[0].dataset_type == "problems"


def test_results_go_up_beside_the_card(hub, tmp_path):
    done = upload(hub, tmp_path, beside={".eval_results/simple.yaml": "- value: 1"})
    assert done.returncode == 0, done.stderr
    assert hub.files["me/tuned"][".eval_results/simple.yaml"] == b"- value: 1"
    assert ".eval_results/simple.yaml" in json.loads(done.stdout)["files"]


def metadata(text):
    return yaml.safe_load(text.split("---")[1])


def test_a_card_has_the_numbers_with_their_intervals_and_protocols(written):
    text = written()
    start = "| math | accuracy | 0.500 | 0.750 | 0.700 to 0.800 | 320 | 0.00012 | "
    assert f"{start}3 examples shown, greedy, at most 64 new tokens (`abc123`) |" in text
    start = "| safety | accuracy | – | – | – | 0 | – | "
    assert f"{start}no examples shown, 4 samples at temperature 0.7, top-p 0.95 (" in text
    assert "| math | sample_count | 320 |" in text and "| math | dataset | problems |" in text
    assert "| math | prompt | Solve:<br>{question} \\| |" in text
    assert "| lora_r | 8 |" in text and "`problems` (data under MIT)" in text
    assert "`owner/base` (revision `c0ffee`) in NF4 (4 bits), fine-tuned: an adapter" in text
    assert "Measured on the adapter on the base in NF4 (4 bits): load the base so." in text
    assert metadata(text)["base_model"] == "owner/base"
    assert metadata(text)["library_name"] == "peft"


def test_a_merged_models_card_says_that_the_adapter_was_measured(written):
    text = written(ABOUT | {"merged": True})
    assert "merged onto the de-quantised NF4 weights" in text
    assert metadata(text)["library_name"] == "transformers"


def test_the_card_of_an_adapter_from_elsewhere(written):
    elsewhere = {"train_data": None, "adapter": "hub:me/tuned", "method": "adapter", "preset": {}}
    text = written(ABOUT | elsewhere | {"quantisation": "none"})
    assert "without quantisation, with the adapter `hub:me/tuned` on it (experiment" in text
    assert "## Training" not in text and metadata(text)["library_name"] == "peft"


def test_a_card_names_folders_without_their_path(written):
    elsewhere = {"train_data": None, "adapter": "/home/me/secret/tuned", "method": "adapter"}
    safety = {**ABOUT["protocols"]["safety"], "judge": {"guideline": "/home/me/rules.txt"}}
    protocols = {**ABOUT["protocols"], "safety": safety}
    text = written(ABOUT | elsewhere | {"preset": {}, "protocols": protocols})
    assert "with the adapter `tuned` on it" in text
    assert "| safety | judge_guideline | rules.txt |" in text and "/home/me" not in text


def test_the_card_of_a_fully_trained_model(written):
    text = written(ABOUT | {"method": "full", "weights": "full", "quantisation": "none"})
    assert "fine-tuned: all weights, on `problems`" in text
    assert "Measured on these weights." in text
    assert metadata(text)["library_name"] == "transformers"


def test_a_base_in_a_folder_is_no_name_on_the_hub(written):
    text = written(
        base={"id": "/home/me/models/mine", "folder": "/home/me/models/mine", "commit": None}
    )
    assert "base_model" not in metadata(text)
    assert "`mine` in NF4" in text and "/home/me" not in text


def test_a_card_that_the_library_refuses_is_said_in_a_line(hub, tmp_path):
    hub.invalid = ["base_model: not a name"]
    done = upload(hub, tmp_path, card="---\nbase_model: /home/me\n---\n# card")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "push to me/tuned: Invalid metadata in README.md" in done.stderr
