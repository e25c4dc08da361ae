"""What identifies a step changes with what it does, and with nothing else."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

from snaketune.runtime import content
from snaketune.runtime.content import content_hash, content_hashes, digest, file_hash

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


def test_a_digest_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})


LARGE = 3_000_000


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where hashes are remembered; empty."""
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "_asked", Forgetful())
    return tmp_path / "cache/hashes"


class Forgetful(dict):
    """Each call as of a process of its own."""

    def get(self, key, default=None):
        return default


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content is read, in order."""
    files: list[Path] = []
    monkeypatch.setattr(content, "file_hash", lambda p: files.append(p) or file_hash(p))
    return files


@pytest.fixture
def weights(tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A large file that has long been as it is."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(os.urandom(LARGE))
    monkeypatch.setattr(content.time, "time", lambda: time() + 60)
    return file


def overwrite(file: Path, place: int) -> None:
    """One byte, and the modification time is put back."""
    found = file.stat()
    with file.open("r+b") as stream:
        stream.seek(place)
        was = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([was ^ 1]))
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_large_file_is_read_once(weights: Path, memory: Path, read: list[Path]) -> None:
    first = content_hash(weights)
    assert first == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert [content_hash(weights) for _ in range(3)] == [first] * 3
    assert read == [weights]
    assert len(list(memory.iterdir())) == 1, "no file is left of the writing"


def test_a_small_file_is_not_remembered(weights: Path, memory: Path, read: list[Path]) -> None:
    weights.write_bytes(b"small")
    content_hash(weights)
    content_hash(weights)
    assert read == [weights] * 2
    assert not memory.exists()


@pytest.mark.parametrize("place", [0, 4096 + 1, LARGE // 2, LARGE - 1])
def test_memory_is_not_trusted_when_the_times_were_put_back(weights: Path, place: int) -> None:
    before, found = content_hash(weights), weights.stat()
    overwrite(weights, place)
    after = weights.stat()
    assert (after.st_size, after.st_mtime_ns) == (found.st_size, found.st_mtime_ns)
    assert content_hash(weights) != before
    assert content_hash(weights) == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_touched_or_replaced_file_is_read_again(weights: Path, read: list[Path]) -> None:
    before = content_hash(weights)
    os.utime(weights, (1, 1))
    assert content_hash(weights) == before
    shutil.copy2(weights, weights.with_suffix(".new"))
    weights.with_suffix(".new").replace(weights)
    assert content_hash(weights) == before
    assert read == [weights] * 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace(json.loads(text)["sha256"], "0" * 64),
        lambda text: text.replace(json.loads(text)["sha256"], ""),
        lambda text: json.dumps(json.loads(text) | {"sha256": None}),
        lambda text: json.dumps(json.loads(text) | {"mark": []}),
        lambda text: "\0" * 300,
    ],
)
def test_a_damaged_memory_costs_time_only(weights: Path, memory: Path, read, damage) -> None:
    before = content_hash(weights)
    (record,) = memory.iterdir()
    record.write_text(damage(record.read_text()))
    assert content_hash(weights) == before
    assert content_hash(weights) == before
    assert read == [weights] * 2, "and it is mended"


@pytest.mark.parametrize("place", ["cache", "cache/hashes"])
def test_a_memory_that_can_not_be_written_is_no_fault(tmp_path: Path, weights, place) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("a file, not a folder")
    assert content_hash(weights) == content_hash(weights) == file_hash(weights)


def test_no_home_is_no_fault(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SNAKETUNE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert content_hash(weights) == file_hash(weights)


def test_a_file_that_was_just_written_is_not_remembered(
    weights: Path, memory: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another change within the same tick of the clock would leave all marks as they are."""
    for second, remembered in ((0.5, False), (1.9, False), (2.5, True)):
        changed = weights.stat().st_ctime
        monkeypatch.setattr(content.time, "time", lambda at=changed + second: at)
        content_hash(weights)
        assert memory.exists() == remembered


def test_a_time_that_is_to_come_hides_no_change(weights: Path, read: list[Path]) -> None:
    os.utime(weights, (4e9, 4e9))
    before = content_hash(weights)
    assert content_hash(weights) == before
    assert read == [weights], "remembered all the same"
    overwrite(weights, 7)
    assert content_hash(weights) != before


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    weights: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(path: Path) -> str:
        found = file_hash(path)
        overwrite(path, 5)
        return found

    monkeypatch.setattr(content, "file_hash", torn)
    content_hash(weights)
    assert not memory.exists()


def test_many_processes_at_once(weights: Path, memory: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from snaketune.runtime import content;"
        "now = time.time; content.time.time = lambda: now() + 60;"
        "[print(content.content_hash(Path(sys.argv[1]))) or "
        "[f.unlink(missing_ok=True) for f in Path(sys.argv[2]).glob('*.json')] for _ in range(20)]"
    )
    command = [sys.executable, "-c", program, str(weights), str(memory)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    jobs = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    said = [job.communicate()[0].split() for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 6
    assert {one for lines in said for one in lines} == {file_hash(weights)}
    assert not [f for f in memory.iterdir() if f.suffix != ".json"], "nothing is left of writing"


def test_several_files_keep_their_order(tmp_path: Path, memory: Path) -> None:
    files = [tmp_path / name for name in "cab"]
    for file in files:
        file.write_bytes(file.name.encode() * 70_000)
    assert content_hashes(files) == [file_hash(f) for f in files]
    assert content_hashes([]) == []


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_process_reads_a_file_once_as_long_as_it_stays_as_it_is(
    tmp_path: Path, memory: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(content, "_asked", {})
    file = tmp_path / "a"
    file.write_bytes(os.urandom(size))
    assert content_hash(file) == content_hash(file) == file_hash(file)
    assert len(read) == 2, "so soon after a change another one could not be told"
    monkeypatch.setattr(content.time, "time", lambda: time() + 60)
    assert len({content_hash(file) for _ in range(3)}) == 1 and len(read) == 3
    before = content_hash(file)
    overwrite(file, 3)
    assert content_hash(file) == file_hash(file) != before
