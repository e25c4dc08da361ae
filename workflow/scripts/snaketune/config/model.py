"""Models: where weights come from and in what numbers they are held."""

from typing import Literal

from pydantic import Field

from snaketune.config.base import Number, OwnFile, Strict

Quantisation = Literal["none", "nf4"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]


class ModelSpec(Strict):
    """A base model or a judge."""

    id: OwnFile = Field(min_length=1)
    """Hub id (`Qwen/Qwen2.5-1.5B-Instruct`) or a folder, relative to the working directory."""
    revision: str | None = None
    """Branch, tag or commit on the hub; it is resolved to a commit, which is recorded."""
    dtype: DtypeName = "auto"
    """Numbers for the weights that are not quantised and for the computation. `auto`: bfloat16
    where the GPU has it, float16 on older GPUs, float32 on the CPU."""
    quantisation: Quantisation | None = None
    """`nf4` (4 bits, bitsandbytes) or `none`. Unset: `nf4` under runs that train with `qlora`,
    `none` elsewhere. A run's method allows nothing else: it is evaluated on what it trained on."""
    double_quantisation: bool = True
    """With `nf4`: quantise the quantisation constants too."""
    parameters: Number | None = Field(None, gt=0)
    """Number of parameters (`1.5e9`), for the estimate of memory and time. Unset: counted in a
    folder, or read from the hub id (`1.5B`), else taken for 8 billion."""
    chat_template: OwnFile | None = None
    """A file with another chat template (`.jinja`), or the name of one of the model's own where it
    has several; unset: the model's, of several the one named `default`."""
    trust_remote_code: bool = False
    """Run Python code that comes with this model. Off unless you have read that code."""
