"""The tasks that can be measured, by the name that evals use."""

from snaketune.measures import math_answers, safety
from snaketune.measures.task import Measurer

MEASURERS: dict[str, Measurer] = {
    "math": math_answers.MEASURER,
    "safety": safety.MEASURER,
}
