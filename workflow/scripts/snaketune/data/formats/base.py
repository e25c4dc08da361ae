"""What every format adapter gives, and how an adapter is found by its format's name."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar, Self, TypeVar

from snaketune.config.base import FormatInfo
from snaketune.config.dataset import DatasetSpec, SplitName
from snaketune.data.example import Example
from snaketune.data.record import Fields, Table


class Format:
    """Reads records of one shape. A subclass gives these and `example`."""

    columns: tuple[tuple[str, ...], ...] = ()
    """Columns that a table must have, each with its alternatives; checked before any record."""
    private: bool = False
    """The records' text must not be shown in logs, messages or manifests."""
    shown: ClassVar[dict[str, Any]] = {}
    """A record, for docs/formats.md."""
    settings: ClassVar[dict[str, Any]] = {}
    """What the config says beside it, where such a record needs that."""

    @classmethod
    def from_spec(cls, spec: DatasetSpec, numeric: bool) -> Self:
        """The adapter for a dataset, with the settings that it goes by. `numeric`: a table's open
        answers have to be numbers."""
        return cls()

    def expand(self, tables: list[Table], split: SplitName) -> list[Table]:
        """The tables with a record an example, where the source's records hold several."""
        return tables

    def recognised(self, fields: Fields) -> str | None:
        """What the record was taken for, where the format reads records of several shapes; it is
        told. Raises `RecordError`."""
        return None

    def example(self, fields: Fields) -> Example:
        """The example in a record, without source and record number. Raises `RecordError`."""
        raise NotImplementedError


F = TypeVar("F", bound=type[Format])
_ADAPTERS: dict[str, tuple[type[Format], FormatInfo]] = {}


def data_format(
    *,
    task: str,
    evaluation_only: bool = False,
    many_files: str | None = None,
    seeded: bool = False,
) -> Callable[[F], F]:
    """Makes a class the adapter of the format that its file is named for. The arguments, all of
    them literals, are what `FormatInfo` says: they are also read without running the file."""

    def register(adapter: F) -> F:
        name = adapter.__module__.rpartition(".")[2]
        _ADAPTERS[name] = adapter, FormatInfo(task, evaluation_only, many_files, seeded)
        return adapter

    return register


def adapter_of(name: str) -> tuple[type[Format], FormatInfo]:
    """The format's adapter and what its file states, now that it is run."""
    import_module(f"snaketune.data.formats.{name}")
    return _ADAPTERS[name]


def format_for(spec: DatasetSpec, numeric: bool = False) -> Format:
    """What reads the records of `spec`; `numeric`: a table's open answers have to be numbers."""
    adapter, _ = adapter_of(spec.format)
    return adapter.from_spec(spec, numeric)
