"""``samedge redraw``: the figures of an archive."""

import argparse
from pathlib import Path

from samedge.base.log import say

DESCRIPTION = "Draw the figures of an archived experiment again: without training and without JAX."
EXAMPLES = """\
samedge redraw default.zip --output redrawn
samedge redraw default.zip --output redrawn --figure 04 --axis step"""
INSTALL = "samedge[share]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line name the archive, and how to draw."""
    parser.add_argument("archive", type=Path, help="the archive, or the folder it was unpacked to")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line say how to draw."""
    parser.add_argument("--output", type=Path, required=True, help="the folder to draw into")
    parser.add_argument(
        "--figure",
        nargs="+",
        default=[],
        metavar="NAME",
        help="which to draw: 04, density_mnist, supplement_mnist, ... (default: all)",
    )
    parser.add_argument(
        "--axis", choices=("training_time", "step"), help="what is on x (default: as configured)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Verify the archive, redraw its figures, and say how they compare with those in it."""
    from samedge.sharing.redraw import redraw

    done = redraw(arguments.archive, arguments.output, arguments.figure, arguments.axis)
    say(f"{arguments.archive}: every file is as it was packed")
    say(f"{arguments.output}: drew {', '.join(done.drawn)}")
    say(f"equal to the packed file, byte for byte: {len(done.equal)} files")
    if done.other:
        say(
            f"drawn otherwise than packed: {', '.join(done.other)}; another axis, or other "
            "versions of the packages that draw"
        )
    if done.left_alone:
        say(f"left alone, not drawn by this program: {', '.join(done.left_alone)}")
