"""What is damaged is named, with what to do; what can be made again at no loss is made again."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from snaketune.config.model import ModelSpec
from snaketune.data.check import SplitReport
from snaketune.data.example import Example, read_examples, write_examples
from snaketune.inference.ledger import LedgerPart
from snaketune.inference.shards import join_shards
from snaketune.models.headers import require_whole
from snaketune.models.nf4 import expanded_folder, load_or_quantise
from snaketune.runtime.content import require_as_made, sign
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_json, read_jsonl, read_rows, write_json, write_jsonl
from snaketune.tables.sources import read_sources
from snaketune.tables.terminal import summary_of
from snaketune.tasks.measure import join
from snaketune.training.saving import TrainingState, load_checkpoint, save_checkpoint

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "zeros": lambda whole: b"\0" * len(whole),
    "other": lambda whole: b"<html>Sign in</html>",
    "joined": lambda whole: whole[:-3] + whole[: len(whole) // 3],
}


@pytest.fixture(params=DAMAGE)
def damage(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    def _damage(file: Path) -> None:
        file.write_bytes(DAMAGE[request.param](file.read_bytes()))

    return _damage


def named(file: Path, read: Callable[[], Any]) -> None:
    with pytest.raises(UserError) as error:
        read()
    assert str(file) in str(error.value)
    assert "Delete this file: it is made again" in str(error.value)


def test_json_and_parquet(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    document, rows = tmp_path / "m.json", tmp_path / "test.parquet"
    write_json(document, {"rows": [1, 2, 3]})
    write_examples(rows, [Example("a", "Q?"), Example("b", "R?")])
    assert read_json(document) == {"rows": [1, 2, 3]} and len(read_examples(rows)) == 2
    damage(document)
    damage(rows)
    named(document, lambda: read_json(document))
    named(rows, lambda: read_rows(rows))
    named(rows, lambda: read_examples(rows))


def test_a_page_within_parquet_that_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "test.parquet"
    write_examples(file, [Example(f"e{i}", f"Question {i} of many?") for i in range(500)])
    content = bytearray(file.read_bytes())
    content[40:90] = b"\xff" * 50
    file.write_bytes(bytes(content))
    named(file, lambda: read_rows(file))


def test_predictions_name_their_line(tmp_path: Path) -> None:
    file = tmp_path / "math.jsonl"
    write_jsonl(file, [{"id": f"e{i}", "output": "x"} for i in range(3)])
    whole = file.read_text()
    for text, line in (
        (whole[:-9], 3),
        (whole.replace('"id": "e1"', '"id" "e1"'), 2),
        ("[1]\n" + whole, 1),
        (whole + "\0\0\0\n", 4),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=rf"math\.jsonl: found line {line} that can't be read"):
            list(read_jsonl(file))


def test_predictions_that_end_at_a_line_are_not_measured(tmp_path: Path) -> None:
    examples, file = tmp_path / "test.parquet", tmp_path / "math.jsonl"
    write_examples(examples, [Example(f"e{i}", "Q?") for i in range(3)])
    write_jsonl(file, [{"id": f"e{i}", "output": "x"} for i in range(2)])
    with pytest.raises(UserError, match=r"math\.jsonl has 2 records .*make the predictions again"):
        join(examples, file, None, None)


def test_metrics_and_logs_of_tables(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    metrics = tmp_path / "metrics/base/math.json"
    write_json(metrics, {"rows": []})
    read_sources([metrics], [], [], [])
    damage(metrics)
    named(metrics, lambda: read_sources([metrics], [], [], []))


def test_what_the_start_sums_up(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    final = tmp_path / "tables/final_metrics.json"
    write_json(final, {"runs": []})
    damage(final)
    named(final, lambda: summary_of(tmp_path))


def test_a_splits_report(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = tmp_path / "test.json"
    SplitReport({"in": 1, "out": 1, "rejected": {}}).write(file)
    SplitReport.read(file)
    damage(file)
    named(file, lambda: SplitReport.read(file))


def test_shards_that_are_joined(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    parts = [tmp_path / f"{n}of2.jsonl" for n in (1, 2)]
    for part in parts:
        write_jsonl(part, [{"id": f"{part.stem}-{i}", "output": "x"} for i in range(4)])
    damage(parts[1])
    with pytest.raises(UserError) as error:
        join_shards(parts, [], tmp_path / "all.jsonl", tmp_path / "meta.json")
    assert "2of2.jsonl" in str(error.value) or "one is not whole" in str(error.value)
    assert not (tmp_path / "all.jsonl").exists()


def test_kept_records_of_a_job_go_without_what_is_damaged(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Nothing damaged is taken, and nothing fails: it is made again."""
    part = LedgerPart(tmp_path)
    for i in range(4):
        part.append({"id": f"e{i}", "output": "x" * 20})
    damage(tmp_path / "records.jsonl")
    kept = LedgerPart(tmp_path).records
    assert len(kept) < 4 and all(record["output"] == "x" * 20 for record in kept.values())


def test_a_bit_of_a_kept_record_that_flipped_makes_it_anew(tmp_path: Path) -> None:
    """Of records that are not published yet, which no record beside them has a hash of."""
    part, file = LedgerPart(tmp_path), tmp_path / "records.jsonl"
    for i in range(3):
        part.append({"id": f"e{i}", "output": "ü" * 20, "score": -0.1 * i, "sample": 1})
    assert list(LedgerPart(tmp_path).records) == [("e0", 1), ("e1", 1), ("e2", 1)]
    assert all("seal" not in record for record in LedgerPart(tmp_path).records.values())
    whole = file.read_bytes()
    # The number of the second, and the line of a version that wrote no seals.
    file.write_bytes(whole.replace(b"-0.1,", b"-0.3,") + b'{"id": "old", "output": "x"}\n')
    assert list(LedgerPart(tmp_path).records) == [("e0", 1), ("e2", 1), ("old", 0)]


def test_a_checkpoint_is_removed_and_the_training_begins_anew(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(tmp_path, TrainingState(step=7), model, optimizer)
    found = load_checkpoint(tmp_path, model, optimizer)
    assert found is not None and found.step == 7
    file = tmp_path / "checkpoint.pt"
    damage(file)
    assert load_checkpoint(tmp_path, model, optimizer) is None
    said = capsys.readouterr().out
    assert str(file) in said and "the training begins anew" in said
    assert not file.exists()


@pytest.mark.parametrize("gone", [False, True])
def test_a_training_goes_on_from_the_checkpoint_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], gone: bool
) -> None:
    """Where one bit of the last one is another, or it is gone."""
    model = tiny.make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    weight = next(model.parameters())
    last, before = tmp_path / "checkpoint.pt", tmp_path / "checkpoint.before.pt"
    for step in (7, 8, 9):
        with torch.no_grad():
            weight.fill_(step)
        save_checkpoint(tmp_path, TrainingState(step=step), model, optimizer)
    if gone:
        last.unlink()
    else:
        flip(last)
    found = load_checkpoint(tmp_path, model, optimizer)
    assert found is not None and found.step == 8 and weight.unique().tolist() == [8.0]
    said = capsys.readouterr().out
    assert gone or (str(last) in said and "goes on from the one before" in said)
    assert not last.exists()
    # The one that is whole stays until another one is.
    with pytest.raises(OSError), a_disk_that_fails():
        save_checkpoint(tmp_path, TrainingState(step=9), model, optimizer)
    assert before.exists()
    save_checkpoint(tmp_path, TrainingState(step=10), model, optimizer)
    found = load_checkpoint(tmp_path, model, optimizer)
    assert found is not None and found.step == 10 and before.exists()
    flip(last), flip(before)
    assert load_checkpoint(tmp_path, model, optimizer) is None
    assert "the training begins anew" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@contextmanager
def a_disk_that_fails() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output")))
        yield


def test_nf4_weights_are_made_anew_with_a_word(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, made = tmp_path / "nf4/abc", []
    folder.parent.mkdir()

    def quantise() -> Any:
        made.append(1)
        return tiny.make_model()

    def load(place: str) -> Any:
        require_whole(Path(place))
        return type(tiny.make_model()).from_pretrained(place)

    load_or_quantise(folder, quantise, load)
    load_or_quantise(folder, quantise, load)
    assert len(made) == 1, "kept"
    damage(folder / "model.safetensors")
    load_or_quantise(folder, quantise, load)
    assert len(made) == 2
    said = capsys.readouterr().err
    assert str(folder) in said and "made anew" in said
    load_or_quantise(folder, quantise, load)
    assert len(made) == 2, "kept again, whole"
    flip(folder / "model.safetensors")
    load_or_quantise(folder, quantise, load)
    assert len(made) == 3, "one bit of a number is noticed too"
    (folder / "manifest.json").unlink()
    load_or_quantise(folder, quantise, load)
    assert len(made) == 3, "what was kept before there were hashes is read"


def test_expanded_nf4_weights_are_made_anew_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))
    tiny.make_model().save_pretrained(tmp_path / "m")
    made = []

    def load() -> Any:
        made.append(1)
        return tiny.make_model()

    spec = ModelSpec(id=str(tmp_path / "m"))
    weights = expanded_folder(spec, torch.float32, load) / "model.safetensors"
    whole = weights.read_bytes()
    expanded_folder(spec, torch.float32, load)
    assert len(made) == 1, "kept"
    flip(weights)
    expanded_folder(spec, torch.float32, load)
    assert len(made) == 2 and weights.read_bytes() == whole


def test_weights_that_are_cut_since_the_check_are_named(tmp_path: Path) -> None:
    from snaketune.models.load import load_model

    tiny.make_model().save_pretrained(tmp_path / "m", max_shard_size="100kB")
    spec = ModelSpec(id=str(tmp_path / "m"))
    load_model(spec, "none", torch.device("cpu"))
    shards = sorted((tmp_path / "m").glob("*-of-*.safetensors"))
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"-00002-.*: found [\d,]+ bytes, expected [\d,]+ by its h"):
        load_model(spec, "none", torch.device("cpu"))
    shards[1].unlink()
    with pytest.raises(UserError, match=r"found no model-00002-of"):
        load_model(spec, "none", torch.device("cpu"))


def test_a_record_that_is_json_but_not_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps("text") + "\n")
    named(file, lambda: list(read_jsonl(file)))


RECORDS = {
    "data/qa/test.json": ["data/qa/test.parquet", "data/qa/test.jsonl", "data/qa/test.csv"],
    "data/qa/few_shot.meta.json": ["data/qa/few_shot.json"],
    "data/qa/manifest.json": ["data/qa/rejected.jsonl"],
    "tokens/a-1/stats.json": ["tokens/a-1/train.parquet", "tokens/a-1/lengths.json"],
    "train/r.1/train_meta.json": [
        *("train/r.1/final/adapter_model.safetensors", "train/r.1/train_log.parquet"),
        "train/r.1/snapshots/1of3/adapter_config.json",
    ],
    "train/given/adapter.json": ["train/given/final/adapter_model.safetensors"],
    "predictions/base/qa.5.meta.json": ["predictions/base/qa.5.jsonl"],
    "predictions/base/qa.shards/1of2.meta.json": ["predictions/base/qa.shards/1of2.jsonl"],
    "metrics/r.1/qa.5.json": ["scores/r.1/qa.5.parquet"],
    "merged/r.1.json": ["merged/r.1"],
    "gguf/r.1/r.1-q8_0.json": ["gguf/r.1/r.1-q8_0.gguf"],
    "tables/final_metrics.json": ["tables/comparisons.csv", "tables/gate.json"],
}
"""Of each step: where its record lies, and what else it leaves, as in rules/."""
OUTPUTS = [(record, file) for record, files in RECORDS.items() for file in files]


def flip(file: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def made(record: Path, *outputs: Path) -> None:
    """What a step leaves."""
    for output in outputs:
        inside = output / "w" if output.parent.name == "merged" else output
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(json.dumps([f"{i} of {output}" for i in range(20)]))
    write_json(record, {"rows": [{"metric": "accuracy", "value": 0.25}]})
    sign(record, {"step": "s"}, [record, *outputs], seed=1)


@pytest.mark.parametrize(("record", "output"), OUTPUTS)
def test_a_flipped_bit_is_noticed_by_who_reads_it_next(
    tmp_path: Path, record: str, output: str
) -> None:
    files = [tmp_path / name for name in (record, *RECORDS[record])]
    made(*files)
    (tmp_path / "moved").mkdir()
    for file in list(tmp_path.glob("*")):
        if file.name != "moved":
            file.rename(tmp_path / "moved" / file.name)
    files = [tmp_path / "moved" / name for name in (record, *RECORDS[record])]
    require_as_made(files)
    place = tmp_path / "moved" / output
    damaged = place / "w" if place.is_dir() else place
    flip(damaged)
    named(damaged, lambda: require_as_made([place]))
    require_as_made([file for file in files if file != place])


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_known_by_its_own_seal(tmp_path: Path, record: str) -> None:
    """Also by who reads what lies beside it: a hash that was damaged would blame that."""
    files = [tmp_path / name for name in (record, *RECORDS[record])]
    made(*files)
    require_as_made(files)
    files[0].write_text(files[0].read_text().replace("0.25", "0.75"))
    for file in files:
        named(files[0], lambda file=file: require_as_made([file]))


def test_what_was_made_before_there_were_hashes_is_read(tmp_path: Path) -> None:
    record, output = tmp_path / "tokens/a/stats.json", tmp_path / "tokens/a/train.parquet"
    made(record, output)
    found = json.loads(record.read_text())
    del found["as_made"]
    record.write_text(json.dumps(found))
    flip(output)
    require_as_made([record, output, tmp_path / "is not there"])


def test_what_is_made_anew_after_damage_is_taken(tmp_path: Path) -> None:
    record, output = tmp_path / "data/qa/test.json", tmp_path / "data/qa/test.parquet"
    made(record, output)
    flip(output)
    sign(record, {"step": "s"}, [record, output])
    require_as_made([record, output])


SCRIPTS = {
    file.stem: file.read_text()
    for file in (Path(__file__).parents[2] / "workflow/scripts").glob("*.py")
    if "demo" not in file.stem
}


def test_every_script_checks_what_it_reads() -> None:
    """But of rules that have no input, or show what the plan knows."""
    unchecked = {name for name, text in SCRIPTS.items() if "reads=" not in text}
    assert unchecked == {"check", "environment", "pin_model", "prepare_held_out"}


def test_every_script_hashes_what_it_leaves_beside_its_record() -> None:
    """But where the record is all that it leaves, and for the page, which nobody reads on."""
    bare = {
        name
        for name, text in SCRIPTS.items()
        if "sign(" in text and not re.search(r"made_by,\s+(snakemake\.output|split)\b", text)
    }
    records = {"check_gguf", "check_model", "check_prompts", "choose", "environment", "leakage"}
    assert bare == records | {"pin_model", "push", "report"}
