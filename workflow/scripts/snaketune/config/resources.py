"""Resources: what a job asks for in the place of the estimate."""

from pydantic import Field

from snaketune.config.base import Number, Strict


class ResourceSpec(Strict):
    """Memory and time of the first attempt; every further attempt gets as much again. They make
    nothing run again."""

    memory_gb: Number | None = Field(None, gt=0)
    """Main memory of a job in GB; unset: estimated from model, method and batch."""
    minutes: int | None = Field(None, ge=1)
    """Run time of a job; unset: estimated."""
