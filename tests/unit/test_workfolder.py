import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snaketune.runtime.errors import UserError
from snaketune.runtime.workfolder import (
    begin,
    finish,
    held,
    remove_set_aside,
    set_aside,
    work_folder,
)


def test_the_same_job_finds_its_folder_again(tmp_path):
    folder = work_folder(tmp_path / "train" / "run", {"rate": 1e-4})
    (folder / "checkpoint").write_text("step 3")
    assert (work_folder(tmp_path / "train" / "run", {"rate": 1e-4}) / "checkpoint").exists()


def test_other_settings_never_find_it_and_clear_it_away(tmp_path):
    old = work_folder(tmp_path, {"rate": 1e-4})
    (old / "checkpoint").write_text("step 3")
    new = work_folder(tmp_path, {"rate": 2e-4})
    assert new != old
    assert not list(new.iterdir())
    assert not old.exists()


def test_a_finished_job_leaves_nothing(tmp_path):
    folder = work_folder(tmp_path / "run", 1)
    (folder / "checkpoint").write_text("last")
    finish(folder)
    assert not (tmp_path / "run").exists()


def test_what_was_published_but_not_noted_can_be_published_again(tmp_path):
    """Until an hour later, when another job of its kind is done, or all are."""
    folders = [work_folder(tmp_path / f"run{i}", i) for i in range(4)]
    for folder in folders[:3]:
        (folder / "checkpoint").write_text("last")
        set_aside(folder)
    hour_ago = time.time() - 3601
    for folder in folders[:2]:
        os.utime(folder / "published", (hour_ago, hour_ago))
    assert work_folder(tmp_path / "run0", 0) == folders[0], "its next attempt began"
    set_aside(folders[3])
    assert [folder.exists() for folder in folders] == [True, False, True, True]
    assert (folders[0] / "checkpoint").read_text() == "last"
    remove_set_aside(tmp_path)
    assert [folder.exists() for folder in folders] == [True, False, False, False]
    assert not (tmp_path / "run2").exists()


@pytest.mark.parametrize(
    ("code", "anew", "strict", "goes_on"),
    [
        ("a", False, False, True),
        ("b", False, False, True),  # a version says whether results change
        ("a", False, True, True),
        ("b", False, True, False),
        ("a", True, False, False),
    ],
)
def test_what_other_code_began_is_not_gone_on_with_strictly(tmp_path, code, anew, strict, goes_on):
    base = tmp_path / "generate" / "state"
    begin(base, "a", anew=False, strict=False)
    (work_folder(base, 1) / "records.jsonl").write_text("half")
    begin(base, code, anew, strict)
    assert base.is_dir() == goes_on
    if not goes_on:  # and what begins now is this code's
        (work_folder(base, 1) / "records.jsonl").write_text("half")
        begin(base, code, anew=False, strict=True)
        assert base.is_dir()


def test_code_that_began_stays_known_when_other_code_goes_on(tmp_path):
    base = tmp_path / "generate" / "state"
    begin(base, "a", anew=False, strict=False)
    work_folder(base, 1)
    begin(base, "b", anew=False, strict=False)
    begin(base, "b", anew=False, strict=True)
    assert not base.exists(), "the records are of both"


def test_what_a_kill_left_of_a_finished_folder_is_not_continued(tmp_path):
    folder = work_folder(tmp_path, 1)
    half = folder.rename(folder.with_name(f"{folder.name}.done"))
    (half / "checkpoint").write_text("last")
    assert not list(work_folder(tmp_path, 1).iterdir())
    assert not half.exists()


HOLDS = """
import sys, time
sys.path.insert(0, {scripts!r})
from pathlib import Path
from snaketune.runtime.workfolder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_process_until_it_ends_or_is_killed(tmp_path):
    base = tmp_path / "train" / "run"
    scripts = str(Path(__file__).parents[2] / "workflow" / "scripts")
    command = [sys.executable, "-c", HOLDS.format(scripts=scripts), str(base)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    message = rf"another process that works there \(process {other.pid} on "
    with pytest.raises(UserError, match=message), held(base, patience=0.3):
        raise AssertionError("both hold it")
    other.kill()
    other.communicate()
    with held(base, patience=10), pytest.raises(UserError), held(base, patience=0):
        raise AssertionError("both hold it")
    with held(base, patience=0):
        pass
    assert not list(base.parent.iterdir())
