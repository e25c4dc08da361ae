# What `check`, `preview` and `talk` (look.smk) show, and what they refuse. Without rules.

from snaketune.plan.states import weights_there
from snaketune.plan.trained_forms import talking_form
from snaketune.runtime.alive import works_beside

LEARNED = sorted({*PLAN.run_tokens.values()})
SHOWN_ROWS = expand(f"{E}/tokens/{{tokens}}/train.parquet", tokens=LEARNED)
SHOWN_PINS = [model_pin(shown_tokens(tokens)["name"]) for tokens in LEARNED]
TALKERS = [n for n, state in PLAN.states.items() if state.run == n and not state.snapshot]


def unless_beside(files: list):
    """To be made first, where nobody else may be making it."""
    return lambda wildcards: [] if works_beside() else files


def check_notes() -> list[str]:
    """What `check` says besides."""
    beside = "another start works in this folder: this tells of what it has prepared so far"
    return [*([beside] if works_beside() else []), *plan_notes()]


def refuse_preview():
    """Raises where rows are not there yet that another start is to make."""
    missing = [file for file in [*SHOWN_ROWS, *SHOWN_PINS] if not Path(file).is_file()]
    if works_beside() and missing:
        raise WorkflowError(
            f"preview: found no {missing[0]} yet, which the start that works in this folder is to "
            "make; try again in a while"
        )


def talker() -> str:
    """The run that is talked with."""
    name = EXPERIMENT.talk or (TALKERS[0] if len(TALKERS) == 1 else None)
    if name not in TALKERS:
        found = name or "no run named"
        found += ", whose predictions were made elsewhere" if name in EXPERIMENT.runs else ""
        known = ", ".join(TALKERS) or "there is none"
        raise UserError(f"talk: found {found}, expected --config talk=RUN, one of: {known}")
    return name


def talked_files() -> list[str]:
    """The weights of the run that is talked with, and where its base's commit is noted."""
    name = talker()
    run, pin = EXPERIMENT.runs[name], model_pin(EXPERIMENT.runs[name].model)
    files = weights_there(E, name, run, PLAN.states[name].weights)
    if not Path(pin).is_file():
        raise UserError(f"run {name} was not measured yet: found no {pin}; start the experiment")
    return [*files, pin]


def refuse_talk():
    """Raises where there is nobody to talk with."""
    try:
        talked_files()
    except UserError as error:
        raise WorkflowError(str(error)) from None


REFUSALS = {"preview": refuse_preview, "talk": refuse_talk}
