"""The format adapters by the name that a config uses."""

from snaketune.config.dataset import DatasetSpec, FormatName
from snaketune.data.formats.ailuminate import Ailuminate
from snaketune.data.formats.base import Format
from snaketune.data.formats.dolly import Dolly
from snaketune.data.formats.gsm8k import Gsm8k
from snaketune.data.formats.gsm_symbolic import GsmSymbolic

FORMATS: dict[FormatName, type[Format]] = {
    "gsm8k": Gsm8k,
    "ailuminate": Ailuminate,
    "gsm_symbolic": GsmSymbolic,
    "dolly": Dolly,
}


def format_for(spec: DatasetSpec) -> Format:
    """The adapter that reads the records of `spec`."""
    return FORMATS[spec.format]()
