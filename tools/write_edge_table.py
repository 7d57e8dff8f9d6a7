"""Print, as Markdown, how close each run of some cubes came to its edge.

    python tools/write_edge_table.py results/laptop/cubes/*.nc

For every run the table gives the median, over the checks in the second half of its steps, of the
curvature that meets the edge over the edge: of |λ1| over the SAM edge, which is 2/η at ρ = 0, for
gradient descent and SAM. Cubes of one task need not be converged ones: a run that diverged says so.
"""

import argparse
import sys
from pathlib import Path

import xarray as xr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from samedge.analysis.statistics import STATISTICS
from samedge.base.errors import run_script
from samedge.records.files import read_cube, settings_of
from samedge.records.schema import COMPLETED, MISSING


def main() -> None:
    """Print one table per cube."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cubes", nargs="+", type=Path, help="cubes of tasks (.nc)")
    for path in parser.parse_args().cubes:
        print("\n".join(table(read_cube(path))), end="\n\n")


def table(cube: xr.Dataset) -> list[str]:
    """Return the lines of a cube's table: a row per eta, a column per rho, commas between seeds."""
    ratios = STATISTICS["edge_ratio"].compute(cube)
    radii = [f"ρ = {label}" for label in cube["rho_label"].values]
    lines = [f"| {settings_of(cube)['task']} | {' | '.join(radii)} |"]
    lines.append("|---" * (1 + len(radii)) + "|")
    for eta, label in enumerate(cube["eta_label"].values):
        cells = [
            ", ".join(
                cell(cube.isel(eta=eta, rho=rho, seed=seed), ratios[eta, rho, seed])
                for seed in range(cube.sizes["seed"])
            )
            for rho in range(cube.sizes["rho"])
        ]
        lines.append(f"| η = {label} | {' | '.join(cells)} |")
    return lines


def cell(run: xr.Dataset, ratio: float) -> str:
    """Return the median ratio of a run, or how else it ended."""
    if int(run["status"]) == MISSING:
        return "missing"
    if int(run["status"]) != COMPLETED:
        return f"diverged at step {int(run['end_step'])}"
    return f"{ratio:.2f}"


if __name__ == "__main__":
    run_script(main)
