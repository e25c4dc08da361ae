"""Free main memory under the limits of control groups, version 1 and 2, however deep."""

import pytest

from snaketune.runtime.machine import _left_by_groups, free_main_memory

STAT = {"memory.stat": "anon 100\ninactive_file 10\nactive_file 5"}


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def version_2(folder, most, used):
    write(folder, **{"memory.max": most, "memory.current": used, **STAT})


def version_1(folder, most, used, cached=0):
    stat = f"inactive_file 1\ntotal_inactive_file {cached}\ntotal_active_file 0"
    write(
        folder,
        **{"memory.limit_in_bytes": most, "memory.usage_in_bytes": used, "memory.stat": stat},
    )


@pytest.fixture
def left(tmp_path):
    def call(groups):
        (tmp_path / "groups").write_text(groups)
        return sorted(_left_by_groups(tmp_path / "groups", tmp_path / "mount"))

    return call


def test_the_process_lies_in_a_nested_group(left, tmp_path):
    """As SLURM nests step and job: the tightest limit counts, wherever it is set."""
    job = tmp_path / "mount" / "slurm" / "job_7"
    version_2(job, 1000, 600)
    version_2(job / "step_0", "max", 600)
    assert left("0::/slurm/job_7/step_0\n") == [1000 - (600 - 15)]


def test_a_container_sees_its_group_as_the_root(left, tmp_path):
    version_2(tmp_path / "mount", 500, 100)
    assert left("0::/\n") == [415]
    assert left("0::/a/path/of/the/host\n") == [415]


def test_version_1_has_a_mount_of_its_own(left, tmp_path):
    memory = tmp_path / "mount" / "memory"
    version_1(memory, 9223372036854771712, 10)
    version_1(memory / "slurm" / "job_7", 1000, 600, cached=100)
    found = left("5:cpu,cpuacct:/slurm\n4:memory:/slurm/job_7\n1:name=systemd:/\n")
    assert found == [500, 9223372036854771702]


def test_more_is_used_than_allowed(left, tmp_path):
    version_2(tmp_path / "mount", 10, 1000)
    assert left("0::/\n") == [0]


def test_without_groups(tmp_path):
    assert list(_left_by_groups(tmp_path / "none", tmp_path)) == []
    assert free_main_memory() > 0
