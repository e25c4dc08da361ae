"""Chains: one edit after another, each followed by one start of the same command."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from project_copy import Project
from stale.compare import differences
from stale.edit import Edit, Files, config_after, expected_after
from stale.edits import BY_NAME
from stale.experiment import Config, R, config_of, write_config
from stale.listing import jobs_listed
from stale.starts import ARGUMENTS, difference

NOTHING = "Nothing to be done"
READ = "records are there already: no model is loaded"
# None of it may start while a check has failed.
EXPENSIVE = ("tokenize", "train", "generate", "score_options", "judge", "score_rewards")


@dataclass(frozen=True)
class Step:
    """Edits, by name, and what the start after them does."""

    edits: Sequence[str] = ()
    undo: Sequence[str] = ()
    """Earlier edits that are taken back; what has to run is what had to after them."""
    read: Sequence[str] = ()
    """Logs of jobs that have to say that they loaded no model."""
    fails: str = ""
    """Words of a check that fails, before anything expensive."""


def step(*edits: str, undo: Sequence[str] = (), read: Sequence[str] = ()) -> Step:
    return Step(edits, undo, read)


@dataclass(frozen=True)
class Chain:
    """Runs of the experiment, and what happens to them."""

    name: str
    runs: tuple[str, ...]
    steps: Sequence[Step]

    @property
    def config(self) -> Config:
        return config_of(*self.runs)

    def edits_at_end(self) -> list[Edit]:
        active: list[str] = []
        for one in self.steps:
            active = [name for name in active if name not in one.undo] + list(one.edits)
        return [BY_NAME[name] for name in active]


@dataclass
class Walk:
    """A chain on its way, in a folder of its own."""

    chain: Chain
    project: Project
    active: list[Edit] = field(default_factory=list)
    files: dict[str, Files] = field(default_factory=dict)
    started: int = 0

    def faults(self) -> Iterator[str]:
        """What went wrong, start by start."""
        write_config(self.project, self.chain.config)
        first = self.project.snakemake("--cores", "1", *ARGUMENTS)
        # A model is checked for how the runs train it, of which there are fewer now.
        ran = {job for job in jobs_listed(first.stdout) if not job.startswith("model:")}
        if first.returncode or ran - {"aggregate", "report"}:
            yield f"fewer runs alone: {first.stdout[-3000:]}"
        for one in self.chain.steps:
            yield from (f"{' + '.join(one.edits)}: {fault}" for fault in self._start(one))

    def _start(self, one: Step) -> Iterator[str]:
        new = [BY_NAME[name] for name in one.edits]
        back = [edit for edit in self.active if edit.name in one.undo]
        left = [edit for edit in self.active if edit not in back]
        expected = expected_after(self.chain.config, new, left, undone=back)
        for edit in back:
            self.files.pop(edit.name, Files(self.project)).take_back()
        self.active = left
        apply(self.project, self.chain.config, self.active, new, self.files)
        self.active += new
        done = self.project.snakemake("--cores", "1", *ARGUMENTS)
        ran = jobs_listed(done.stdout)
        self.started += 1
        if one.fails:
            expensive = {job for job in ran if job.startswith(EXPENSIVE)}
            if done.returncode == 0 or one.fails not in done.stdout or expensive:
                yield f"not failed with {one.fails!r} alone ({expensive}): {done.stdout[-3000:]}"
            return
        if done.returncode:
            yield done.stdout[-3000:]
        elif fault := difference(ran, expected):
            yield fault
        for name in one.read:
            if READ not in (self.project.folder / R / "logs" / name).read_text():
                yield f"{name}: a model was loaded"
        again = self.project.snakemake("--dry-run", *ARGUMENTS)
        if NOTHING not in again.stdout:
            yield f"a second start: {sorted(jobs_listed(again.stdout))}"


def apply(
    project: Project,
    config: Config,
    before: Sequence[Edit],
    new: Sequence[Edit],
    files: dict[str, Files],
) -> None:
    """Makes the `new` edits in the project's folder."""
    write_config(project, config_after(config, [*before, *new]))
    for edit in new:
        if edit.do:
            edit.do(files.setdefault(edit.name, Files(project)))


def compared(walked: Project, fresh: Project) -> list[str]:
    """What differs at the end."""
    return differences(walked.folder / R, fresh.folder / R)
