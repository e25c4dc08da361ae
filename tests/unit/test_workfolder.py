from snaketune.workfolder import finish, work_folder


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


def test_what_a_kill_left_of_a_finished_folder_is_not_continued(tmp_path):
    folder = work_folder(tmp_path, 1)
    half = folder.rename(folder.with_name(f"{folder.name}.done"))
    (half / "checkpoint").write_text("last")
    assert not list(work_folder(tmp_path, 1).iterdir())
    assert not half.exists()
