"""The format adapters by the name that a config uses."""

from snaketune.config.dataset import DatasetSpec, FormatName
from snaketune.data.formats.ailuminate import Ailuminate
from snaketune.data.formats.base import Format
from snaketune.data.formats.dolly import Dolly
from snaketune.data.formats.f1_qa import F1Qa
from snaketune.data.formats.gsm8k import Gsm8k
from snaketune.data.formats.gsm_symbolic import GsmSymbolic
from snaketune.data.formats.solution_verifier import SolutionVerifier
from snaketune.data.formats.table import NamedColumns

# Formats that no setting changes.
_PLAIN: dict[FormatName, type[Format]] = {
    "gsm8k": Gsm8k,
    "ailuminate": Ailuminate,
    "gsm_symbolic": GsmSymbolic,
    "dolly": Dolly,
}


def format_for(spec: DatasetSpec, numeric: bool = False) -> Format:
    """The adapter that reads the records of `spec`; `numeric`: a table's answers are numbers."""
    keep_repeated = spec.repeated_options == "keep"
    if spec.columns:
        return NamedColumns(spec.columns, keep_repeated, spec.labels, numeric)
    if spec.format == "f1_qa":
        return F1Qa(spec.seed, keep_repeated)
    if spec.format == "solution_verifier":
        return SolutionVerifier(spec.labels)
    return _PLAIN[spec.format]()
