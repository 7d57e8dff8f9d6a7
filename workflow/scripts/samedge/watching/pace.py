"""When to measure, in a training loop that one does not own."""

import math
import time
from dataclasses import dataclass, field


@dataclass
class Pace:
    """When a measurement is due: every so many steps, geometrically, or by a share of the time.

    Attributes
    ----------
    every
        Steps from one measurement to the next.
    geometric
        What each step of a measurement is times the one before, more than 1; at least one step on.
    overhead
        The share of the time since the first measurement began that measuring may take, from 0
        to 1: one is due as soon as another of the last one's length keeps it below. What the first
        one compiles counts too.

    Exactly one of the three is given.

    Raises
    ------
    ValueError
        If that is not so, or it is out of range.
    """

    every: int | None = None
    geometric: float | None = None
    overhead: float | None = None
    spent: float = field(init=False, default=0.0)
    last: float = field(init=False, default=0.0)
    _next: int | None = field(init=False, default=None)
    _began: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        given = [name for name in ("every", "geometric", "overhead") if self._of(name) is not None]
        if len(given) != 1:
            found = f"found {', '.join(given)}" if given else "found none"
            raise ValueError(
                f"{found}: give one of every (steps, such as 100), geometric (a factor, such as "
                "1.3) and overhead (a share of the time, such as 0.1)"
            )
        if self.every is not None and not (isinstance(self.every, int) and self.every >= 1):
            raise ValueError(f"every is {self.every!r}; give a whole number of steps, 1 or more")
        if self.geometric is not None and not 1 < self.geometric < math.inf:
            raise ValueError(f"geometric is {self.geometric!r}; give a factor above 1, such as 1.3")
        if self.overhead is not None and not 0 < self.overhead < 1:
            raise ValueError(f"overhead is {self.overhead!r}; give a share between 0 and 1")

    def _of(self, name: str) -> object:
        return getattr(self, name)

    def due(self, step: int) -> bool:
        """Tell whether to measure at a step; steps may be left out, and are ascending."""
        if self._began is None:
            return True
        if self.overhead is not None:
            elapsed = time.perf_counter() - self._began
            # How long the next one takes is not told by the first, which compiles.
            expected = self.last if self.last < self.spent else 0.0
            return self.spent + expected <= self.overhead * (elapsed + expected)
        return self._next is None or step >= self._next

    def measured(self, step: int, began: float) -> float:
        """Note a measurement at a step that began then and ends now; return its seconds."""
        self.last = time.perf_counter() - began
        self.spent += self.last
        if self._began is None:
            self._began = began
        if self.every is not None:
            self._next = (step // self.every + 1) * self.every
        elif self.geometric is not None:
            self._next = max(step + 1, math.ceil(step * self.geometric - 1e-9))
        return self.last
