"""The tasks that can be measured, by the name that evals use."""

from snaketune.measures import (
    classification,
    math_answers,
    math_samples,
    multiple_choice,
    open_answers,
    safety,
)
from snaketune.measures.task import Measurer

MEASURERS: dict[str, Measurer] = {
    "math": math_answers.MEASURER,
    "math_samples": math_samples.MEASURER,
    "safety": safety.MEASURER,
    "multiple_choice": multiple_choice.MEASURER,
    "open_qa": open_answers.MEASURER,
    "classification": classification.MEASURER,
}
