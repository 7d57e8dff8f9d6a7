"""``samedge explorer``: a page of whatever there is of an experiment."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samedge.base.errors import UserError
from samedge.base.files import require_file_path, write_whole
from samedge.base.log import say

if TYPE_CHECKING:
    import xarray as xr

    from samedge.watching.run import WatchedRun

DESCRIPTION = "Write the explorer: one HTML page, for any browser, that shows every run."
EXAMPLES = """\
samedge explorer results/default --output default.html
samedge explorer mine.nc other.nc
samedge explorer unpacked/default --output default.html"""
INSTALL = "samedge[figures]"
PAGE = "explorer.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line name what to show, and the page."""
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="run files or cubes (.nc), the results of an experiment, or the folder that an "
        "archive was unpacked to",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=f"the page to write (default: {PAGE} in the first folder, or beside the first file)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the page."""
    from samedge.explorer.page import page

    absent = [path for path in arguments.paths if not path.exists()]
    if absent:
        raise UserError(f"{absent[0]}: no such file or folder")
    output = arguments.output
    if output is None:
        first = arguments.paths[0]
        output = (first if first.is_dir() else first.parent) / PAGE
        if output.exists():
            raise UserError(
                f"{output}: is there already; name another page, or this one to write it anew, "
                "with --output"
            )
    require_file_path(output, "--output")
    cubes, left_out = read(arguments.paths)
    drawn = sorted((output.parent / "figures").glob("*.pdf"))
    write_whole(output, page(cubes, [f"figures/{path.name}" for path in drawn]))
    for line in left_out:
        say(f"left out: {line}")
    runs = sum(cube["status"].size for cube in cubes)
    say(f"{output}: {runs} run{'' if runs == 1 else 's'} of {', '.join(_tasks(cubes))}")


def read(paths: Sequence[Path]) -> tuple[list["xr.Dataset"], list[str]]:
    """Return the cubes in files and folders, runs gathered by their task; and what is left out.

    Raises
    ------
    UserError
        If a path has no runs, a file is damaged, or a task is there twice.
    """
    from samedge.records.files import read_cube
    from samedge.watching.run import of_run_file
    from samedge.watching.runs import Watch
    from samedge.watching.so_far import so_far

    cubes: list[xr.Dataset] = []
    runs: list[WatchedRun] = []
    for path in paths:
        files = _files(path) if path.is_dir() else [path]
        if not files:
            runs += [run for run in Watch(path).look() if run.file is not None]
        for file in files:
            cube = read_cube(file)
            run = of_run_file(("", file.stem), file) if cube["status"].size == 1 else None
            if run is None:
                cubes.append(cube)
            else:
                runs.append(run)
    gathered = so_far(runs)
    cubes += gathered.cubes.values()
    tasks = _tasks(cubes)
    twice = [task for task in dict.fromkeys(tasks) if tasks.count(task) > 1]
    if twice:
        raise UserError(f"the task '{twice[0]}' is there twice; give one cube, or runs, of each")
    if not cubes:
        raise UserError(f"{', '.join(map(str, paths))}: no run that has ended")
    return cubes, gathered.left_out


def _files(folder: Path) -> list[Path]:
    """Return the cubes among an experiment's results or beside each other, run files by hand."""
    from samedge.analysis.comparison import FILTERED

    found = [*(folder / "cubes").glob("*.nc")] or [*folder.glob("*.nc")]
    return sorted(path for path in found if not path.name.endswith(FILTERED))


def _tasks(cubes: Sequence["xr.Dataset"]) -> list[str]:
    from samedge.records.files import settings_of

    return [settings_of(cube)["task"] for cube in cubes]
