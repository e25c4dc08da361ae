"""A user's mistakes: one clear message, a failing exit code, no traceback, nothing expensive."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from conftest import Project
from tls_server import serve_https

ROOT = Path(__file__).parents[2]

GOOD = {"question": "What is 1 + 1?", "answer": "It is 2.\n#### 2"}


def fails(project: Project, *arguments: str) -> str:
    done = project.snakemake(*arguments)
    assert done.returncode != 0, done.stdout[-3000:]
    assert "Traceback (most recent call last)" not in done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("datasets={problems: {source: data/nowhere.jsonl}}", "data/nowhere.jsonl"),
        ("presets={simple: {lerning_rate: 1}}", "did you mean learning_rate?"),
        ("runs={simple: {preset: simpel}}", "did you mean simple?"),
        ("models={tiny: {id: data/demo/nowhere}}", "models.tiny.id: found data/demo/nowhere"),
        ("models={tiny: {id: data/demo/math}}", "has no *.safetensors"),
        ("runs={simple: {gpu: 4}}", "runs.simple.gpu: found 4, but at most 2 are granted at once"),
    ],
)
def test_faults_in_the_config_stop_before_the_plan(
    project: Project, setting: str, expected: str
) -> None:
    assert expected in fails(project, "-n", "--config", setting)


def test_a_file_of_overrides_alone_is_no_demo(project: Project) -> None:
    (project.folder / "over.yaml").write_text("presets: {simple: {epochs: 1}}\n")
    assert "experiment: this key is missing" in fails(project, "-n", "--configfile", "over.yaml")


def test_a_run_given_twice_is_told_with_both_lines(project: Project) -> None:
    file = project.folder / "config/config.yaml"
    lines = file.read_text().splitlines()
    at = 1 + lines.index("runs:")
    lines.insert(at, "  simple: {model: tiny, preset: medium, train: problems}")
    file.write_text("\n".join(lines) + "\n")
    again = 1 + lines.index("  simple:", at)
    shown = fails(project, "-n")
    assert "1 fault in the config:" in shown
    found = f"config/config.yaml:{at + 1}: runs.simple: found this key 2 times"
    assert f"{found}, on lines {at + 1} and {again}; expected it once" in shown
    (project.folder / "over.json").write_text('{"presets": {"simple": {}},\n\t"presets": {}}')
    files = ("--configfile", "config/config.yaml", "over.json")
    shown = fails(project, "-n", *files)
    assert "over.json:1: presets: found this key 2 times, on lines 1 and 2" in shown
    assert "2 faults in the config:" in shown


def test_a_key_of_the_profile_that_is_misspelt_is_named(project: Project) -> None:
    file = project.folder / "profiles/default/config.yaml"
    file.write_text(file.read_text() + "retrise: 2\n")
    assert "unrecognized arguments: --retrise=2" in fails(project, "-n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{not json", ["train.jsonl", "3"]),
        (json.dumps({"question": "What?"}), ["train.jsonl", "3", "answer"]),
        (json.dumps({"question": "What?", "answer": "two"}), ["train.jsonl", "3", "answer"]),
        (
            json.dumps({**GOOD, "id": "a"}) + "\n" + json.dumps({**GOOD, "id": "a"}),
            ["train.jsonl", "id", "a"],
        ),
    ],
    ids=["not-json", "no-answer", "no-final-number", "ids-repeat"],
)
def test_faults_in_the_data_stop_before_any_training(
    project: Project, line: str, expected: list[str]
) -> None:
    folder = project.folder / "data/bad"
    folder.mkdir()
    good = [json.dumps({**GOOD, "question": f"What is 1 + {i}?"}) for i in range(2)]
    (folder / "train.jsonl").write_text("\n".join([*good, line]) + "\n")
    (folder / "test.jsonl").write_text(json.dumps(GOOD) + "\n")
    # The whole experiment for one of them: other jobs go on, and no training is among them.
    targets = [] if line == "{not json" else ["results/demo/data/problems/manifest.json"]
    shown = fails(
        project, *targets, "--keep-going", "--config",
        "datasets={problems: {source: data/bad, dev: 0}}",
    )  # fmt: skip
    logs = project.folder / "results/demo/logs"
    files = [*logs.glob("prepare/problems/train.log"), *logs.glob("manifest/problems.log")]
    log = "".join(file.read_text() for file in files)
    message = next(x for x in log.splitlines() if x.startswith("error:"))
    for part in expected:
        assert part in log, message
    assert message in shown, "the log is shown where the run ends"
    assert not (project.folder / "results/demo/train").exists()


PAIR = {"question": "Who won?", "correct_answer": "Ada", "wrong_options": ["Ben", "Cleo", "Dov"]}


def article(**changes: object) -> bytes:
    return json.dumps({"qa_pairs": [PAIR, PAIR | changes]}).encode()


BAD_ARTICLES = {
    "three": (
        article(wrong_options=["Ben", "Cleo"]),
        "qa_1.json: record 2: field wrong_options: found a list",
    ),
    "empty": (
        article(wrong_options=["Ben", " ", "Dov"]),
        "qa_1.json: record 2: field wrong_options[1]: found",
    ),
    "bytes": (
        article(question="Who?") + b"\x81",
        "qa_1.json: line 1: found the byte",
    ),
}


def test_faults_in_articles_are_one_message_each(project: Project) -> None:
    datasets, runs, evals = {}, {}, {}
    for name, (content, _) in BAD_ARTICLES.items():
        (project.folder / name).mkdir()
        (project.folder / name / "qa_1.json").write_bytes(content)
        datasets[name] = {"source": {"test": name}, "format": "f1_qa"}
        evals[name] = {"task": "multiple_choice", "dataset": name}
        runs[name] = {"predictions": {name: "config/config.yaml"}}
    config = {"experiment": "bad", "datasets": datasets, "evals": evals, "runs": runs}
    (project.folder / "bad.yaml").write_text(yaml.safe_dump(config))
    shown = fails(project, "--keep-going", "--configfile", "bad.yaml")
    for name, (_, expected) in BAD_ARTICLES.items():
        logs = project.folder / "results/bad/logs"
        files = [logs / f"prepare/{name}/test.log", *logs.glob(f"manifest/{name}.log")]
        log = "".join(file.read_text() for file in files)
        assert log.count("error:") == 1, log
        assert expected in log and expected in shown


def test_a_hub_that_cannot_be_reached_says_how_to_do_without(project: Project) -> None:
    shown = fails(
        project, "results/demo/models/tiny.json", "--config", "models={tiny: {id: nobody/nothing}}"
    )
    log = Path(project.folder / "results/demo/logs/pin_model/tiny.log").read_text()
    assert "nobody/nothing" in log and "folder" in log
    assert "error:" in shown


class _Files(BaseHTTPRequestHandler):
    """The demo's problems, whatever stands behind `?`."""

    def do_GET(self) -> None:
        body = (ROOT / "data/demo/math" / Path(urlsplit(self.path).path).name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address with a certificate of its own, and that."""
    with serve_https(_Files, tmp_path) as server:
        yield server


def test_a_signature_and_a_token_are_found_nowhere(
    project: Project, https: tuple[str, Path]
) -> None:
    """In no file of the project, and in nothing that is said, also where it has changed. (Of what
    stands on the command line Snakemake's own listing says it all.)"""
    address, certificate = https
    said = []
    for key in ("PLNT7qone", "PLNT7qtwo"):
        source = {s: f"{address}/{s}.jsonl?sig={key}" for s in ("train", "test")}
        own = project.folder.parent / "own.yaml"
        own.write_text(json.dumps({"datasets": {"problems": {"source": source}}}))
        for arguments in (["-n"], []):
            done = project.snakemake(
                *arguments, "results/demo/data/problems/manifest.json",
                "--configfile", "config/config.yaml", str(own),
                SSL_CERT_FILE=str(certificate), HF_TOKEN="hf_PLNT7qthree",
                WANDB_API_KEY="PLNT7qfour",
            )  # fmt: skip
            assert done.returncode == 0, done.stdout[-3000:]
            said.append(done.stdout)
    assert "PLNT7q" not in "".join(said)
    files = [file for file in project.folder.rglob("*") if file.is_file()]
    assert (project.folder / "results/demo/data/problems/manifest.json") in files
    assert [str(file) for file in files if b"PLNT7q" in file.read_bytes()] == []
