"""Faults in what is asked of a SLURM site, with stand-ins for its commands."""

import re
from pathlib import Path

import pytest

from snaketune.plan.slurm_site import JobRequest, Profile, check_site, gpus_of, minutes_of
from snaketune.runtime.errors import UserError

RULES = Path(__file__).parents[2] / "rules"

COMMANDS = {
    "sbatch": "exit 1",
    "sinfo": (
        "[ $1 = -haN ] || exit 1; echo 'cpu|(null)|infinite|64000'; "
        "echo 'gpu|gpu:a100:4(S:0-1)|1-12:00:00|500000'; "
        "echo 'gpu|gpu:v100:2|1-12:00:00|250000+'; echo 'sxm|gpu:a100-sxm4:4|infinite|9'"
    ),
    "sacctmgr": "printf 'physics\\nbiology\\n'",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts commands on a PATH that has nothing else."""

    def make(**commands: str) -> None:
        for name, body in {**COMMANDS, **commands}.items():
            file = tmp_path / name
            file.write_text(f"#!/bin/sh\n{body}\n")
            file.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    return make


def job(rule: str = "train", **resources: object) -> JobRequest:
    return JobRequest(rule, tuple((name, str(value)) for name, value in resources.items()))


@pytest.mark.parametrize(
    "asked",
    [
        {"slurm_partition": "gpu", "gpu": 4},
        {"slurm_partition": "gpu", "gpu": 2, "gpu_model": "v100"},
        {"slurm_partition": "cpu,gpu", "gpu": 4, "slurm_account": "physics", "runtime": 60},
        {"slurm_partition": "cpu", "mem_mb": 5500, "licences": 2},
        {"slurm_account": "Physics"},
        {"slurm_partition": "far", "slurm_cluster": "other", "gpu": 99},
        {"mem_mb": 5500},
        {"slurm_partition": "gpu", "runtime": 2160, "mem_mb": 500_000},
        {"slurm_partition": "cpu,gpu", "runtime": 9999},
        {"slurm_account": "physics,biology"},
    ],
)
def test_what_the_site_has_is_fine(site, asked: dict) -> None:
    site()
    check_site([job(**asked)], Profile(resources=["gpu", "runtime", "licences"]))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"slurm_partition": "gpuu"}, "found gpuu, which this site does not have; did"),
        ({"slurm_partition": "gpu", "gpu": 5}, "found gpu 5, but partition gpu has at most 4"),
        ({"slurm_partition": "gpu", "gpu": 3, "gpu_model": "v100"}, "at most 2 on a node"),
        ({"slurm_partition": "cpu", "gpu": 1}, "partition cpu has at most 0 on a node"),
        ({"slurm_partition": "gpu", "gpu": 1, "gpu_model": "a10"}, "gpu_model: found a10"),
        ({"slurm_account": "physic"}, "no account of"),
        ({"slurm_account": "physics, biologie"}, "found biologie, which is no account of"),
        ({"slurm_acount": "physics"}, "anything reads; did you mean slurm_account?"),
        ({"partition": "gpu"}, "partition: no resource that anything reads; did you mean slurm_p"),
        ({"account": "physics"}, "did you mean slurm_account?"),
        ({"cpus": 4}, "did you mean cpus_per_task?"),
        ({"licences": 2}, "anything reads; one of your own has a limit beside it (resources: [lic"),
        ({"gpu_type": "a100"}, "gpu_type: no resource that anything reads"),
        ({"time_limit": 60}, "time_limit: no resource that anything reads"),
        ({"slurm_partition": "sxm", "gpu": 1, "gpu_model": "a100-sxm4"}, "takes for no name"),
        ({"time": 60}, "did you mean runtime?"),
        ({"walltime": 60}, "did you mean runtime?"),
        ({"memory": "4GB"}, "did you mean mem?"),
        ({"slurm_partition": "gpu", "runtime": 2161}, "at most 2160 minutes; name another slurm_p"),
        ({"slurm_partition": "gpu", "mem_mb": 500_001}, "found mem_mb 500001, but partition gpu"),
        ({"slurm_partition": "gpu", "mem_mb": 500_001}, "(resources: [mem_mb=500000])"),
    ],
)  # fmt: skip
def test_what_it_has_not_is_told(site, asked: dict, expected: str) -> None:
    site()
    with pytest.raises(UserError) as raised:
        check_site([job(**asked)])
    assert expected in str(raised.value)


def test_all_faults_are_told_together_and_once(site) -> None:
    site()
    both = {"slurm_partition": "gpuu", "slurm_account": "physic"}
    with pytest.raises(UserError) as raised:
        check_site([job("train", **both), job("generate", **both)])
    assert len(str(raised.value).splitlines()) == 3


def test_an_account_where_none_are_kept(site) -> None:
    said = "You are not running a supported accounting_storage plugin"
    site(sacctmgr=f"echo '{said}' >&2; exit 1")
    with pytest.raises(UserError, match=rf"keeps no accounts \({said}\)"):
        check_site([job(slurm_account="physics")])


def test_an_account_that_cannot_be_asked_for_is_not_refused(site, capsys) -> None:
    site(sacctmgr="echo 'Connection refused' >&2; exit 1")
    check_site([job(slurm_account="physics")])
    assert "slurm_account was not checked: Connection refused" in capsys.readouterr().err


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no sbatch here; start Snakemake on a login"):
        check_site([job()])


def test_slurm_that_does_not_answer(site) -> None:
    site(sinfo="echo 'unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(UserError, match="unable to contact slurm controller"):
        check_site([job()])


def test_resources_of_a_rule_that_is_not_there(site) -> None:
    site()
    rules = ["tokenize", "train_adapter_0", "generate"]
    named = ["tokenize", "train_full_3", "train_adapter_3"]
    check_site([job()], Profile(set_resources=named, set_threads=named), rules)
    for key in ("set_resources", "set_threads"):
        expected = (
            f"{key.replace('_', '-')}: tokenise: found no rule of that name; did you mean tok"
        )
        with pytest.raises(UserError, match=expected):
            check_site([job()], Profile(**{key: ["tokenise"]}), rules)


def test_limits_that_no_job_asks_for(site) -> None:
    site()
    check_site([job(gpu=1)], Profile(resources=["gpu", "mem_mb", "mine"], scopes=["runtime"]))
    wrong = Profile(resources=["gpus", "runtme"], scopes=["runtme"])
    with pytest.raises(UserError) as raised:
        check_site([job(gpu=1)], wrong)
    assert [line.strip() for line in str(raised.value).splitlines()[1:]] == [
        "resources: gpus: no job asks for that; did you mean gpu?",
        "resources: runtme: no job asks for that; did you mean runtime?",
        "set-resource-scopes: runtme: no job asks for that; did you mean runtime?",
    ]


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", float("inf")), ("n/a", float("inf")), ("30:00", 30), ("4:00:00", 240),
     ("1-12:30:00", 2190), ("45", 0.75)],
)  # fmt: skip
def test_time_limits_as_sinfo_writes_them(limit: str, minutes: float) -> None:
    assert minutes_of(limit) == minutes


@pytest.mark.parametrize(
    ("gres", "expected"),
    [
        ("(null)", {}),
        ("gpu:2", {"": 2}),
        ("gpu", {"": 1}),
        ("gpu:a100:4(S:0-1),gpu:h100.80:2,shard:8", {"a100": 4, "h100.80": 2}),
        ("gpu:1g.5gb:7", {"1g.5gb": 7}),
    ],
)
def test_gpus_of_a_node(gres: str, expected: dict[str, int]) -> None:
    assert gpus_of(gres) == expected


def test_a_site_takes_what_the_rules_ask_for(site) -> None:
    site()
    text = "\n".join(file.read_text() for file in sorted(RULES.glob("*.smk")))
    blocks = re.findall(r"^( *)resources:\n((?:\1 +.*\n)+)", text, re.MULTILINE)
    names = {name for _, block in blocks for name in re.findall(r"^ +(\w+)=", block, re.MULTILINE)}
    # And those that several rules have from rules/common.smk.
    names |= set(re.findall(r'^ +"(\w+)": lambda wildcards, attempt:', text, re.MULTILINE))
    assert {"mem", "gpu", "runtime", "limit"} <= names
    check_site([job(**dict.fromkeys(names, 1), slurm_partition="gpu")])
