"""Starts the server of `warm/` for the tests of this process."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "warm"

# What jobs and Snakemake import of others.
PACKAGES = (
    "snakemake.cli", "snakemake.script", "snakemake.executors.local", "pydantic", "jinja2", "yaml",
    "numpy", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "torch", "torch._dynamo",
    "torch.distributed.tensor", "torch.onnx", "torch.export", "torch.nn.attention.flex_attention",
    "transformers.modeling_utils", "transformers.generation.utils",
    "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto", "accelerate", "peft", "bitsandbytes",
    "safetensors.torch", "tokenizers", "huggingface_hub.hf_api", "rouge_score.rouge_scorer",
)  # fmt: skip


@cache
def _address() -> str:
    """Where the server will listen; processes that run tests side by side share the first one's."""
    side_by_side = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    name = f"warm-{side_by_side or os.getpid()}"
    folder = Path(tempfile.gettempdir()) / name
    address = folder / "address"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return str(address)
    server = subprocess.Popen(
        [sys.executable, FOLDER / "server.py", address, *PACKAGES],
        env=usual(),
        stdin=subprocess.PIPE,
        start_new_session=True,
    )

    def end() -> None:
        server.communicate()
        shutil.rmtree(folder)

    atexit.register(end)
    return str(address)


def usual() -> dict[str, str]:
    """The environment of a start: without a hub, and with a core a job."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def warm() -> dict[str, str]:
    """The environment of a start whose jobs are forks of one process with their imports done.

    Until that process is ready, and where the environment is another than its own, they start as
    everybody's do.
    """
    if os.environ.get("WARM") == "no":
        return usual()
    return {**usual(), "WARM_SERVER": _address(), "PYTHONPATH": str(FOLDER)}
