"""The formats: found by listing their folder, and known to the config without being run."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

import snaketune
from snaketune.config.base import FORMATS
from snaketune.config.dataset import DatasetSpec, FormatName
from snaketune.data.formats.base import adapter_of


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_read_of_a_format_is_what_it_states_when_it_runs(name):
    assert adapter_of(name)[1] == FORMATS[name]


def test_the_config_knows_the_formats():
    assert get_args(FormatName) == tuple(FORMATS)
    assert "gsm8k" in FORMATS
    with pytest.raises(ValidationError, match="gsm8k"):
        DatasetSpec.model_validate({"source": "a.jsonl", "format": "gsm9k"})


def test_the_config_runs_no_format_and_a_format_imports_nothing_heavy():
    code = (
        "import sys; from snaketune.config.dataset import DatasetSpec; "
        "print('snaketune.data.formats.gsm8k' in sys.modules); "
        "from snaketune.data.formats.base import adapter_of; "
        "from snaketune.config.base import FORMATS; [adapter_of(name) for name in FORMATS]; "
        "heavy = {'numpy', 'pyarrow', 'datasets', 'pandas', 'torch', 'scipy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    folder = Path(snaketune.__file__).parents[1]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert found.stdout.split("\n")[:2] == ["False", "[]"]
