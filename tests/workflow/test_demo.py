"""The demo at reduced size, run for real: what it leaves, and what makes it run again."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import Project

from snaketune.runtime.content import require_as_made
from snaketune.runtime.errors import UserError

R = Path("results/demo")


@contextmanager
def edited(file: Path, old: str, new: str) -> Iterator[None]:
    """The file with `old` replaced by `new`, for a while."""
    text = file.read_text()
    times = file.stat()
    assert old in text, f"{file} has no {old!r}"
    file.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        file.write_text(text)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def changed_params(jobs: dict[str, list[str]]) -> set[str]:
    """Rules that run because of their own params, not because of what runs before them."""
    return {r for r, lines in jobs.items() if any("Params have changed" in x for x in lines)}


def test_everything_is_there(finished: Project) -> None:
    folder = finished.folder / R
    for name in (
        "config.yaml",
        "environment.json",
        "report.html",
        "data/problems/manifest.json",
        "data/leakage/problems-prompts.json",
        "train/medium/chosen.json",
        "train/simple/final/adapter_model.safetensors",
        "tables/summary.csv",
        "tables/checkpoint_scores.csv",
        "tables/final_metrics.csv",
    ):
        assert (folder / name).stat().st_size > 0, name
    work = folder / ".work"
    left = [file.name for file in (work / "train").rglob("*.*")]
    # Beside where they were stands which code began.
    assert sorted(left) == [".medium.code", ".simple.code"], "checkpoints go with their training"
    for records in (work / "generate").rglob("records.jsonl"):
        assert records.stat().st_nlink == 2, "replies that are kept for later jobs take no room"


def test_the_table_is_printed_at_the_end(finished: Project) -> None:
    shown = (finished.folder / "output.txt").read_text()
    assert "simple" in shown and "medium" in shown
    assert "Report: results/demo/report.html" in shown


def test_final_metrics_count_every_row_of_every_run(finished: Project) -> None:
    final = json.loads((finished.folder / R / "tables/final_metrics.json").read_text())
    assert [run["run"] for run in final["runs"]] == ["simple", "medium"]
    for run in final["runs"]:
        assert run["evals"]["math"]["counts"]["total"] == 24
        assert run["evals"]["safety"]["counts"]["total"] == 16


def test_predictions_and_verdicts_are_of_the_sampled_rows(finished: Project) -> None:
    folder = finished.folder / R
    for file in folder.glob("predictions/*/math*.jsonl"):
        ids = [json.loads(line)["id"] for line in file.read_text().splitlines()]
        expected = 12 if "split_dev" in file.name else 24
        assert len(ids) == len(set(ids)) == expected, file
    for file in folder.glob("verdicts/*/safety.jsonl"):
        assert len(file.read_text().splitlines()) == 16, file


def test_snapshots_stand_in_training_order_and_one_is_chosen(finished: Project) -> None:
    with (finished.folder / R / "tables/checkpoint_scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["snapshot"] for row in rows] == ["1of2", "2of2"]
    choice = json.loads((finished.folder / R / "train/medium/chosen.json").read_text())
    assert choice["scores"][choice["snapshot"]] == max(choice["scores"].values())
    assert sum(row["chosen"] in ("True", "true", "1") for row in rows) == 1


def test_a_second_run_has_nothing_to_do(finished: Project) -> None:
    assert "Nothing to be done" in finished.run()


def test_a_fresh_checkout_has_nothing_to_do(finished: Project) -> None:
    """git gives files new times; only their content counts."""
    for part in ("Snakefile", "rules", "workflow", "config"):
        path = finished.folder / part
        for file in [path] if path.is_file() else path.rglob("*"):
            file.touch()
    for file in (finished.folder / "data/demo").glob("*/model.safetensors"):
        file.touch()
    assert finished.planned() == {}


def test_an_update_of_ten_files_without_a_new_version_has_nothing_to_do(finished: Project) -> None:
    """Other code in the library, scripts, a rule and the Snakefile, as a pull brings it."""
    library = finished.folder / "workflow/scripts/snaketune"
    names = (
        "training/run.py", "models/load.py", "inference/decode.py", "tasks/math.py",
        "tables/aggregate.py", "report/page.py", "config/model.py",
    )  # fmt: skip
    changed = [library / name for name in names]
    changed += [library.parent / "train.py", finished.folder / "rules/train.smk"]
    changed.append(finished.folder / "Snakefile")
    with ExitStack() as stack:
        for file in changed:
            text = file.read_text()
            stack.enter_context(edited(file, text, f"{text}\n_PULLED = 1\n"))
        assert finished.planned() == {}
        said = finished.run("-n")
    assert "changed since its version was set" in said


def test_a_presets_learning_rate_reruns_that_preset_and_what_follows(finished: Project) -> None:
    config = finished.folder / "config/config.yaml"
    medium = config.read_text().split("  medium:\n", 1)[1]
    rate = next(line for line in medium.splitlines() if "learning_rate" in line)
    section = medium.split(rate, 1)[0] + rate
    with edited(config, section, section.replace(rate, "    learning_rate: 0.0001")):
        jobs = finished.planned()
    assert changed_params(jobs) == {"train_adapter_2"}
    assert set(jobs) == {
        "train_adapter_2", "generate", "measure", "choose", "judge", "aggregate",
        "report", "all",
    }  # fmt: skip
    named = [line for group in jobs.values() for line in group if line.startswith("wildcards")]
    assert all("medium" in line for line in named), named


def test_a_tracker_or_remark_reruns_nothing(finished: Project) -> None:
    old = "  simple:\n    model: tiny"
    new = "  simple:\n    # A remark.\n    report_to: [wandb]\n    model: tiny"
    with edited(finished.folder / "config/config.yaml", old, new):
        assert finished.planned() == {}


def test_a_label_renews_the_report(finished: Project) -> None:
    old, new = "  simple:\n    model: tiny", "  simple:\n    label: The simple one\n    model: tiny"
    with edited(finished.folder / "config/config.yaml", old, new):
        assert set(finished.planned()) == {"report", "all"}


def test_what_is_kept_on_the_way_trains_nothing_again(finished: Project) -> None:
    """It stands among the settings in the report, which is made again, and nothing else is."""
    old = "  simple:\n    method: qlora"
    with edited(finished.folder / "config/config.yaml", old, f"{old}\n    keep: 3"):
        assert set(finished.planned()) <= {"aggregate", "report", "all"}


def test_resources_and_threads_rerun_nothing(finished: Project) -> None:
    assert (
        finished.planned("--set-resources", "generate:mem=1GB", "--set-threads", "generate=1") == {}
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["measure"], {"measure"}),
        (["choose", "leakage"], {"choose", "leakage"}),
        (["train", "make_demo_data"], {"train_adapter_0", "train_adapter_2"}),
        (["make_demo_data"], set()),
    ],
)
def test_a_new_version_reruns_its_step(
    finished: Project, steps: list[str], expected: set[str]
) -> None:
    """What each step has: tests/stale."""
    with ExitStack() as stack:
        for step in steps:
            stack.enter_context(newer(finished, step))
        jobs = finished.planned()
    assert changed_params(jobs) == expected
    assert bool(jobs) == bool(expected)


def newer(project: Project, step: str) -> AbstractContextManager[None]:
    """The step at its next version."""
    file = project.folder / "workflow/steps.json"
    now = json.loads(file.read_text())[step]["version"]
    line = f'"{step}": {{"version": '
    return edited(file, f"{line}{now},", f"{line}{now + 1},")


def test_another_metric_regenerates_no_text(finished: Project) -> None:
    """Not even where the metric chooses a snapshot, as long as it chooses the same."""
    before = made(finished)
    with newer(finished, "measure"):
        finished.run()
        assert made(finished) == before
    finished.run()


def made(project: Project) -> dict[str, str]:
    """The notes on how texts were made: seconds and all."""
    folder = project.folder / R
    files = [*folder.glob("predictions/*/*.meta.json"), *folder.glob("verdicts/*/*.meta.json")]
    return {str(file.relative_to(folder)): file.read_text() for file in files}


def test_the_machine_is_noted_before_anything_is_trained(project: Project) -> None:
    assert "environment" in project.planned(str(R / "train/simple/train_meta.json"))
    assert "environment" not in project.planned("download")


def test_another_machine_reruns_only_what_shows_it(finished: Project) -> None:
    jobs = finished.planned("--forcerun", "environment")
    assert set(jobs) == {"environment", "report", "all"}


def test_shards_give_the_same_replies(finished: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "copy")
    shutil.copytree(finished.folder, project.folder)
    file = R / "predictions/base-tiny-nf4/safety.jsonl"
    # The same text, but three jobs and their join made it.
    project.run(str(file), "--forcerun", "join_shards", "--config", "evals={safety: {shards: 3}}")
    assert (project.folder / file).read_text() == (finished.folder / file).read_text()
    meta = json.loads((project.folder / file.with_suffix(".meta.json")).read_text())
    assert meta["shards"] == 3


def test_shards_give_the_same_choices(project: Project) -> None:
    file = R / "predictions/base-tiny-nf4/quiz.jsonl"
    asked = "sample: {count: 30, seed: 1}"
    project.run(str(file), "--config", f"evals={{quiz: {{{asked}}}}}")
    whole = [json.loads(line) for line in (project.folder / file).read_text().splitlines()]
    out = project.run(
        str(file), "--forcerun", "join_shards",
        "--config", f"evals={{quiz: {{{asked}, shards: 3}}}}",
    )  # fmt: skip
    assert "rule score_options_shard" in out
    sharded = [json.loads(line) for line in (project.folder / file).read_text().splitlines()]
    assert [line["id"] for line in sharded] == [line["id"] for line in whole] and len(whole) == 30
    for one, other in zip(sharded, whole, strict=True):
        assert one["sums"] == pytest.approx(other["sums"], abs=1e-4)
    meta = json.loads((project.folder / file.with_suffix(".meta.json")).read_text())
    assert meta["shards"] == 3 and meta["finishes"] == {"scored": len(whole)}


READ_ON = (
    *("data/*/*.parquet", "data/*/few_shot.json", "tokens/*/*.parquet", "tokens/*/lengths.json"),
    *("train/*/final/*", "train/*/snapshots/*/*", "train/*/train_log.parquet"),
    *("predictions/*/*.jsonl", "verdicts/*/*.jsonl", "scores/*/*.parquet", "tables/*.csv"),
)
"""What later jobs read, besides records."""


def test_a_flipped_bit_in_any_result_would_be_noticed(finished: Project) -> None:
    """Every file that a job reads is known to a record where jobs look for it; a record itself."""
    folder = finished.folder / R
    records = [f for f in folder.rglob("*.json") if '"as_made"' in f.read_text()]
    others = [file for pattern in READ_ON for file in folder.glob(pattern)]
    assert len(records) > 30 and len(others) > 40
    for file in (*records, *others):
        require_as_made([file])
        whole, times = file.read_bytes(), file.stat()
        # Of a record a letter, as JSON that can't be read is named by whoever reads it.
        place = whole.rindex(b'"step"') + 1 if file in records else len(whole) // 2
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match="found other content than it was made with"):
            require_as_made([file])
        file.write_bytes(whole)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("damaged", "rule"),
    [("predictions/simple/math.jsonl", "measure"), ("train/simple/final/adapter_model.safetensors",
     "generate")],
)  # fmt: skip
def test_damage_is_named_and_what_is_told_mends_it(
    finished: Project, tmp_path: Path, damaged: str, rule: str
) -> None:
    project = Project(tmp_path / "copy")
    shutil.copytree(finished.folder, project.folder)
    shutil.rmtree(project.folder / R / ".work")
    file, final = project.folder / R / damaged, project.folder / R / "tables/metrics.csv"
    before = final.read_bytes(), file.read_bytes()
    content = bytearray(before[1])
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    done = project.snakemake(str(R / "tables/metrics.csv"))
    assert done.returncode and f"{R / damaged}: found other content" in done.stdout
    assert f"Error in rule {rule}:" in done.stdout and "Traceback" not in done.stdout
    file.unlink()
    project.run()
    # The measures from before still stand, and need no predictions: these are asked for by name.
    project.run(str(R / damaged))
    project.run()
    assert (final.read_bytes(), file.read_bytes()) == before
    assert "Nothing to be done" in project.run()


def test_results_from_before_records_had_hashes_are_taken_as_they_are(
    finished: Project, tmp_path: Path
) -> None:
    project = Project(tmp_path / "copy")
    shutil.copytree(finished.folder, project.folder)
    for file in (project.folder / R).rglob("*.json"):
        found, times = json.loads(file.read_text()), file.stat()
        if isinstance(found, dict) and found.pop("as_made", None):
            file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "Nothing to be done" in project.run()
    assert set(project.planned("--forcerun", "report")) == {"report", "all"}
    project.run("--forcerun", "measure")


def test_the_report_page_of_snakemake_itself(finished: Project) -> None:
    finished.run("--report", "report.zip")
    assert (finished.folder / "report.zip").stat().st_size > 10_000
