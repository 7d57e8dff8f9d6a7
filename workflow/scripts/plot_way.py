"""Draw the way to the SAM point and what steps change, of a task's SAM runs, from its cube."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.errors import run_script
from samedge.figures.beside import draw_from_cube
from samedge.figures.steps.way import draw


def main(argv: list[str] | None = None) -> None:
    """Draw the way to the SAM point from the command line."""
    draw_from_cube(draw, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
