"""Dry runs after edits of a finished experiment list what must run, nothing less, nothing more."""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue

import pytest
from project_copy import Project
from stale.edit import Edit, apart, expected_after
from stale.edits import EDITS
from stale.experiment import CONFIG, copied
from stale.starts import fault_of, planned

COMBINED = 40
AT_ONCE = 2


def combinations(seed: int = 0) -> Iterator[list[Edit]]:
    """Two or three edits that touch different things, without end."""
    numbers = random.Random(seed)
    together = [edit for edit in EDITS if not edit.alone and not edit.refused]
    while True:
        edits = numbers.sample(together, numbers.choice([2, 3]))
        if apart(edits):
            yield edits


SETS = [[edit] for edit in EDITS] + list(islice(combinations(), COMBINED))


def name(edits: Sequence[Edit]) -> str:
    return " + ".join(edit.name for edit in edits)


def test_there_are_enough_of_them() -> None:
    assert len(SETS) >= 200


@pytest.fixture(scope="module")
def dry_runs(
    finished: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[str]]]:
    """What is wrong with each dry run; as many at once as there are copies of the experiment."""
    folder = tmp_path_factory.mktemp("copies")
    copies: SimpleQueue[Project] = SimpleQueue()
    for number in range(AT_ONCE):
        copies.put(copied(finished, folder / str(number)))

    def fault(edits: list[Edit]) -> str:
        project = copies.get()
        try:
            code, output = planned(project, edits)
        finally:
            copies.put(project)
        return fault_of(edits, code, output, expected_after(CONFIG, edits, dry=True))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name(edits): pool.submit(fault, edits) for edits in SETS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", [name(edits) for edits in SETS])
def test_a_dry_run_lists_what_must_run(dry_runs: dict[str, Future[str]], case: str) -> None:
    fault = dry_runs[case].result()
    assert not fault, fault
