"""Write an archive of an experiment that is small enough to be kept in the repository.

    python tools/write_archive.py docs/findings/length.zip --configfile config/length.yaml \\
        --cubes results/length/cubes/mnist.nc results/length/cubes/tiny_shakespeare.nc

It is one like the target `archive` makes, with less in it: the cubes, and of the figures that can
be drawn from them the PDFs that are no large files, without the supplement.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from samedge.base.errors import run_script
from samedge.config import experiment
from samedge.sharing.pack import pack
from samedge.sharing.redraw import permitted, redraw

REPOSITORY = Path(__file__).resolve().parents[1]
MOST_BYTES = 150_000  # of a figure


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the zip file to write")
    parser.add_argument("--configfile", nargs="*", type=Path, default=[], help="over config.yaml")
    parser.add_argument("--cubes", nargs="+", type=Path, required=True, help="a cube per task")
    parser.add_argument("--date", help="date of publication (default: of the newest runs' commit)")
    given = parser.parse_args()
    loaded = experiment.load([REPOSITORY / "config.yaml", *given.configfile])
    write(experiment.resolved(loaded), given.cubes, given.output, given.date)
    print(f"{given.output}: {given.output.stat().st_size / 1e6:.2f} MB")


def write(config: str, cubes: Sequence[Path], output: Path, date: str | None) -> None:
    """Pack the cubes, draw what they permit, and pack them with that."""
    pack(config, cubes, [], output, date)
    names = [name for name in permitted(output) if not name.startswith("supplement_")]
    with TemporaryDirectory() as folder:
        redraw(output, Path(folder), names)
        drawn = [Path(folder) / "figures" / f"{name}.pdf" for name in names]
        small = [path for path in drawn if path.stat().st_size <= MOST_BYTES]
        pack(config, cubes, small, output, date)


if __name__ == "__main__":
    run_script(main)
