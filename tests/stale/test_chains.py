"""Edits one after another, executed. A chain's end is what a fresh run of its last config is."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from project_copy import Project
from stale.chain import Chain, Step, Walk, apply, compared, step
from stale.experiment import copied, new_project
from stale.starts import ARGUMENTS

SHARDED = [
    f"generate/{state}/safety/{k}of2.log" for state in ("low", "base-tiny-nf4") for k in (1, 2)
]
SAMPLES = [f"generate/{state}/samples.log" for state in ("borrowed", "base-tiny")]

CHAINS = [
    Chain("what was found", ("low",), [
        step("a learning rate, with a new dataset"),
        step("runs.low.label=The low one"),
        step("a space in a chat template"),
        step("a run's seed, with a new dataset and an eval on it",
             undo=["a learning rate, with a new dataset"]),
        step("datasets.problems.licence=MIT", "datasets.problems.rejected_at_most=0.5"),
    ]),
    Chain("more runs and rows", ("low",), [
        step("a new run with another seed, and an unused dataset"),
        step("a test row of problems"),
        step("touch data/stale/problems/train.jsonl", "touch data/demo/model/model.safetensors",
             "datasets.problems.source=./data/stale/problems", "models.tiny.id names a copy"),
        step("a training row of problems"),
    ]),
    Chain("weights", ("low", "whole"), [
        # Zeros are planned alike (`test_found.py`); from them nothing is learned.
        step("other weights of a model"),
        step("a README in a model's folder", "remarks in ten library files"),
        step("presets.whole.method=lora", "runs.low.report_to=['tensorboard']"),
    ]),
    Chain("a choice of snapshots", ("picked",), [
        step("datasets.problems.few_shot.count=9"),
        step("version of measure"),
        step("runs.picked.choose=math.accuracy_flexible"),
        step("runs.picked.follow=['math']"),
        step("presets.plain.learning_rate=0.0009", "a test row of problems"),
        step("evals.math.few_shot=1", "datasets.problems.licence=MIT"),
    ]),
    Chain("samples and options", ("borrowed",), [
        step("evals.samples.sampling.samples=3", read=SAMPLES),
        step(undo=["evals.samples.sampling.samples=3"], read=SAMPLES),
        step("evals.samples.sampling.at=[1, 4]", "runs.borrowed.adapter names a copy"),
        step("a row of a file that all splits are drawn from"),
        step("a byte of the reward model's weights"),
        step("a byte of an adapter", undo=["runs.borrowed.adapter names a copy"]),
    ]),
    Chain("shards and judges", ("low",), [
        step("evals.safety.shards=2", read=SHARDED),
        # Parts that are gone are made again, not read from what was kept, and joined once.
        step("other code in generate.py, strictly"),
        step("other code in join_shards.py, strictly",
             undo=["other code in generate.py, strictly"]),
        step("a space in the judge's chat template"),
        step("the judge's guideline", "evals.safety.judge={'model': 'judge', 'sees': 'response'}"),
        step("a prompt", undo=["evals.safety.shards=2"]),
    ]),
    Chain("made elsewhere", ("whole", "given"), [
        step("predictions made elsewhere"),
        step("a catalogue's row", "evals.answers.answers.strict=False"),
        step("evals.solutions.classes.by=gone",
             "runs.given.predictions.answers=./data/stale/answers.jsonl"),
        step("a test row of a source by split"),
        step("models.other.dtype=float32"),
    ]),
    Chain("a fault, and code", ("low",), [
        Step(["a broken training row"], fails="rejected"),
        Step(["a training row of problems"], undo=["a broken training row"]),
        step("other code in measure.py, strictly"),
        step("code=versions"),
        step("version of judge"),
        step("runs.low.seed=7", "version of report"),
    ]),
]  # fmt: skip


def test_there_are_enough_of_them() -> None:
    assert len(CHAINS) >= 8
    assert sum(len(one.edits) + len(one.undo) for chain in CHAINS for one in chain.steps) >= 30
    assert sum(len(chain.steps) for chain in CHAINS) >= 30


Done = tuple[Future[tuple[Project, list[str]]], Future[tuple[Project, list[str]]]]


@pytest.fixture(scope="module")
def walks(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Done]]:
    """Each chain, and the fresh run that it is held against; two at once, with a core each."""
    folder = tmp_path_factory.mktemp("chains")

    def walk(chain: Chain) -> tuple[Project, list[str]]:
        project = copied(finished, folder / chain.name.replace(" ", "_"))
        return project, list(Walk(chain, project).faults())

    def fresh(chain: Chain) -> tuple[Project, list[str]]:
        project = new_project(folder / f"{chain.name.replace(' ', '_')}_fresh")
        apply(project, chain.config, [], chain.edits_at_end(), {})
        cache = str(project.folder.with_suffix(".cache"))
        done = project.snakemake("--cores", "1", *ARGUMENTS, SNAKETUNE_CACHE=cache)
        return project, [f"a fresh run: {done.stdout[-3000:]}"] if done.returncode else []

    with ThreadPoolExecutor(2) as pool:
        yield {c.name: (pool.submit(walk, c), pool.submit(fresh, c)) for c in CHAINS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", [chain.name for chain in CHAINS])
def test_each_start_makes_what_has_to_be_made(walks: dict[str, Done], name: str) -> None:
    _, faults = walks[name][0].result()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", [chain.name for chain in CHAINS])
def test_its_end_is_a_fresh_run(walks: dict[str, Done], name: str) -> None:
    (walked, _), (fresh, faults) = (future.result() for future in walks[name])
    assert not faults, faults
    assert compared(walked, fresh) == []
