"""Keys twice in a config file: a fault with all lines; what only looks like one is none."""

from pathlib import Path

import pytest
import yaml

from snaketune.config import faults as written
from snaketune.config.faults import repeats
from snaketune.config.read import load_experiment
from snaketune.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config/config.yaml"


@pytest.fixture(params=["libyaml", "python"])
def loaders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both loaders: where libyaml is missing, PyYAML's own has to do."""
    if request.param == "python":
        monkeypatch.setattr(written, "_LOADERS", [yaml.SafeLoader])
    written._composed.cache_clear()


def found(tmp_path: Path, text: str, name: str = "x.yaml") -> list[tuple[str, list[int]]]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return [(".".join(map(str, r.path)), r.lines) for r in repeats(tmp_path / name)]


@pytest.mark.usefixtures("loaders")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs: {}\nevals: {}\nruns: {}\n", [("runs", [1, 3])]),
        (
            "runs:\n  a: {}\n  b: {x: 1, x: 2}\n  a: {}\n",
            [("runs.a", [2, 4]), ("runs.b.x", [3, 3])],
        ),
        ("a: [1, {b: [{c: 1,\n c: 2}]}]\n", [("a.1.b.0.c", [1, 2])]),
        ("n: {1: a, 0x1: b}\n", [("n.1", [1, 1])]),
        ("yes: 1\ntrue: 2\n", [("yes", [1, 2])]),
        ("'a': 1\na: 2\n\"a\": 3\n", [("a", [1, 2, 3])]),
        ("~: 1\nnull: 2\n", [("~", [1, 2])]),
        ("a: &x\n  b: *x\n  c: 1\n  c: 2\nd: *x\n", [("a.c", [3, 4])]),
        ("a: {<<: {b: 1}, b: 2, b: 3}\n", [("a.b", [1, 1])]),
        ("a:\n  <<: {b: 1}\n  <<: {c: 1}\n", [("a.<<", [2, 3])]),
        ('{\n\t"a": 1,\n\t"b": {"c": "\\ud83d\\ude00",\n\t"c": 1}\n}', [("b.c", [3, 4])]),
    ],
)
def test_each_kind_is_found(tmp_path: Path, text: str, expected: list) -> None:
    assert found(tmp_path, text) == expected


@pytest.mark.usefixtures("loaders")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "a: {x: 1}\nb: {x: 1}\n",
        "a: [{x: 1}, {x: 2}]\n",
        "base: &b {x: 1, y: 2}\na:\n  <<: *b\n  x: 3\n",
        "a: &a {x: 1}\nb: &b {x: 2}\nc: {<<: [*a, *b]}\n",
        "a: &x {b: *x}\n",
        "a: &x [*x, *x]\nb: *x\n",
        "a: 1\nA: 2\n'a ': 3\n",
        "1: a\n'1': b\n",
        "yes: a\n'yes': b\n",
        '{"a": {"<<": 1}, "b": "\\ud83d\\ude00"}',
        # Snakemake's to tell.
        "a: [1\nb: 2\nb: 3\n",
        "a: 1\n---\na: 2\n",
        "? [1]\n: 1\n? [1]\n: 2\n",
        "? &k [*k]\n: 1\n",
        "2020-13-45: 1\n2020-13-45: 2\n",
    ],
)
def test_legal_neighbours_and_what_is_no_yaml_are_left(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    assert repeats(tmp_path) == repeats(tmp_path / "gone.yaml") == []


def test_all_faults_stand_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file = tmp_path / "config.yaml"
    text = DEMO.read_text()
    count = text.count("\n")
    again = "smoke: false\nsmoke: true\nruns:\n  only: {modle: tiny, seed: 1, seed: 2}\n"
    file.write_text(text + again)
    with pytest.raises(UserError) as caught:
        load_experiment(yaml.safe_load(file.read_text()), [file, file])
    runs = 1 + text.splitlines().index("runs:")
    message = str(caught.value)
    times = "found this key 2 times, on"
    assert f"{file}:{runs}: runs: {times} lines {runs} and {count + 3}; expected it" in message
    assert f"{file}:{count + 1}: smoke: {times} lines {count + 1} and {count + 2}; expe" in message
    assert f"{file}:{count + 4}: runs.only.seed: {times} line {count + 4}; expected it" in message
    assert f"{file}:{count + 4}: runs.only.modle: unknown key; did you mean model?" in message
    assert message.count(times) == 3


def test_a_key_twice_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file = tmp_path / "config.yaml"
    file.write_text(DEMO.read_text() + "keep_predictions: 1\nkeep_predictions: 2\n")
    with pytest.raises(UserError, match="1 fault in the config"):
        load_experiment(yaml.safe_load(DEMO.read_text()), [file])


def test_a_key_in_two_files_is_an_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    over = tmp_path / "over.yaml"
    over.write_text("presets:\n  simple: {epochs: 1}\n")
    load_experiment(yaml.safe_load(DEMO.read_text()), [DEMO, over])


def test_of_a_key_twice_other_faults_name_the_one_that_was_read(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("experiment: a\nexperiment: [b]\n")
    with pytest.raises(UserError, match=r"x\.yaml:2: experiment: found \['b'\]"):
        load_experiment(yaml.safe_load(file.read_text()), [file])


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.yaml", "gate: {undecided: pass}\nruns: {}\n", {"undecided": "pass"}),
        ("a.yaml", "gate: {}\ngate: {always: yes}\n", {"always": True}),
        ("a.yaml", "x: &x {a: 1e-3}\ngate: {<<: *x, b: [2]}\n", {"a": "1e-3", "b": [2]}),
        ("a.json", '{"gate": {"not_worse": {"e.m": 0.02}}}', {"not_worse": {"e.m": 0.02}}),
        ("a.yaml", "runs: {gate: 1}\n", None),
        ("a.yaml", "- gate\n", None),
        ("a.yaml", "", None),
        ("a.yaml", "gate: [", None),
    ],
)
def test_a_key_s_value_as_the_file_has_it(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    assert written.written(tmp_path / name, "gate") == found
    assert written.written(tmp_path / "gone.yaml", "gate") is None
