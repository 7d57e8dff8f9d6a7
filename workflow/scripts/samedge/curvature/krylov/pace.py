"""How many products to ask for before the host looks at what they brought."""

import math
import time

import jax

MOST = 4  # products between two looks
SHARE = 0.7  # of what seems to be missing
SLOW = 0.05  # seconds of a product from which on waiting for each costs nothing


class Pace:
    """What falls geometrically with the products, and how many of them its aim is away.

    The numbers do not depend on how often somebody looks, but for the products after the aim is
    met; so of those that seem to be missing only a share is asked for at a time.

    Attributes
    ----------
    steps
        Products to ask for next.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._before: tuple[int, float] | None = None

    def aim(self, at: int, ratio: float) -> None:
        """Take by what ratio an aim was missed after so many products."""
        missing = math.log(ratio) if 0 < ratio < math.inf else 0.0
        before, self._before = self._before, (at, missing)
        self.steps = 1
        if before is not None and at > before[0] and missing < before[1]:
            gained = (before[1] - missing) / (at - before[0])
            self.steps = max(1, min(MOST, int(SHARE * missing / gained)))


class Patience:
    """Waits for each product where products are slow, so that signals are seen between them."""

    def __init__(self) -> None:
        self._slow = True  # until products are known not to be

    def wait(self, result: jax.Array) -> None:
        """Wait for a product if the last one that was waited for was slow."""
        if self._slow:
            began = time.monotonic()
            jax.block_until_ready(result)
            self._slow = time.monotonic() - began > SLOW
