"""The tasks that can be measured, by the name that evals use."""

from snaketune.measures import math_answers, multiple_choice, open_answers, safety
from snaketune.measures.task import Measurer

MEASURERS: dict[str, Measurer] = {
    "math": math_answers.MEASURER,
    "safety": safety.MEASURER,
    "multiple_choice": multiple_choice.MEASURER,
    "open_qa": open_answers.MEASURER,
}
