"""Draw what minibatches make of a task's edges, gradient descent beside SAM, from its cube."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import run_script
from samedge.figures.beside import draw_from_cube
from samedge.figures.steps.stochastic import draw


def main(argv: list[str] | None = None) -> None:
    """Draw what minibatches make of a task's edges from the command line."""
    draw_from_cube(draw, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
