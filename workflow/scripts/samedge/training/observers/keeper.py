"""What is kept of a run at some of its checks."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from samedge.training.schedule import Shares

Item = TypeVar("Item")


@dataclass
class Keeper(Generic[Item]):
    """Keeps something of a run at the checks that shares of its budget choose.

    Attributes
    ----------
    at
        Shares of the budget, ascending; each chooses the first check at or after it.
    kept
        What has been kept so far.
    """

    at: tuple[float, ...]
    kept: list[Item] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._shares = Shares(self.at)
