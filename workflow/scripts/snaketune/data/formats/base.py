"""What every format adapter gives."""

from typing import ClassVar

from snaketune.config.dataset import SplitName
from snaketune.data.example import Example
from snaketune.data.record import Fields, Table


class Format:
    """Reads records of one shape. A subclass sets the class variables and `example`."""

    columns: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Columns that a table must have, each with its alternatives; checked before any record."""
    private: ClassVar[bool] = False
    """The records' text must not be shown in logs, messages or manifests."""

    def expand(self, tables: list[Table], split: SplitName) -> list[Table]:
        """The tables with a record an example, where the source's records hold several."""
        return tables

    def example(self, fields: Fields) -> Example:
        """The example in a record, without source and record number. Raises `RecordError`."""
        raise NotImplementedError
