"""Draw the figures of an archived experiment again, from its cubes and its configuration."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import xarray as xr

from samedge.analysis import verdicts
from samedge.analysis.claims import TABLE, Claim, load_claims
from samedge.base.errors import UserError, did_you_mean
from samedge.config.paper_figures import FIGURES, drawable, unnumbered
from samedge.config.settings import CLAIMS_FILE, decimal_string
from samedge.figures import claims, edge_map, family, paper
from samedge.figures.spectra import blocks, density
from samedge.figures.steps import stochastic, way
from samedge.figures.supplement import write_supplement
from samedge.records import cubes as collecting
from samedge.records import files as records
from samedge.sharing.archive import (
    CONFIG,
    FIGURE_FOLDER,
    METADATA,
    README,
    PackedExperiment,
    digest,
    verified,
)

#: How every figure is drawn.
KINDS = ("pdf", "png")
#: Draws one figure, or the supplement of a task, below a folder.
Drawing = Callable[[Path], None]
#: Figures of a task at its SAM radius: the name, the variable that they need, and what draws them.
OF_ONE_RADIUS = (
    ("density", "density_node", density.draw),
    ("blocks", "block_curvature", blocks.draw),
    ("stochastic", "batch_sharpness", stochastic.draw),
    ("way", "way_step", way.draw),
)


@dataclass(frozen=True)
class DrawnTask:
    """What decides which figures of a task are drawn: the radii of its cube, and that of SAM."""

    rho: tuple[str, ...]
    figure_rho: str


@dataclass(frozen=True)
class Redrawn:
    """What was drawn; of the figures among it, which are equal to those packed and which are not;
    and the files of the archive that are neither drawn here nor drawn from."""

    drawn: Sequence[str]
    equal: Sequence[str]
    other: Sequence[str]
    left_alone: Sequence[str]


def redraw(
    path: Path, output: Path, wanted: Sequence[str] = (), axis: str | None = None
) -> Redrawn:
    """Verify an archive and draw its figures into ``output``, as they lie among the results.

    Parameters
    ----------
    path
        The archive, or the folder that it was unpacked to.
    output
        Folder to draw into: ``figures`` and ``supplement/<task>`` in it. Nothing is written
        elsewhere.
    wanted
        Names such as ``04``, ``figure_04``, ``density_mnist`` or ``supplement_mnist``; all that
        the cubes permit if there are none.
    axis
        What is on x, "training_time" or "step"; as configured if None.

    Raises
    ------
    UserError
        If the archive is not as it was packed, a figure cannot be drawn from it, or ``output``
        lies in it.
    """
    if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
        raise UserError(f"--output: {output} lies in the archive {path}; give another folder")
    with verified(path) as archive:
        config = archive.config()
        cubes, judged = _read_cubes(archive, output), _read_claims(archive, output)
        known = drawings(cubes, config, axis or config["figures"]["time_axis"], judged)
        chosen = [_named(name, known) for name in wanted] or list(known)
        for name in chosen:
            known[name](output)
        equal, other = _compared(archive, output, chosen)
        sources = {*archive.cubes(), CONFIG, CLAIMS_FILE, README, METADATA}
        accounted = sources | {*_files_of(known)}
        left_alone = [name for name in archive.checksums if name not in accounted]
    return Redrawn(chosen, equal, other, left_alone)


def permitted(path: Path) -> list[str]:
    """Return the names of all that can be drawn from an archive, in the order of a redraw.

    Raises
    ------
    UserError
        If the archive is not as it was packed.
    """
    with verified(path) as archive, TemporaryDirectory() as folder:
        cubes, judged = _read_cubes(archive, Path(folder)), _read_claims(archive, Path(folder))
        return [*drawings(cubes, archive.config(), "step", judged)]


def drawings(
    cubes: Mapping[str, xr.Dataset], config: Mapping, axis: str, judged: Sequence[Claim]
) -> dict[str, Drawing]:
    """Return what can be drawn from the cubes of these tasks, by name, and the claims judged.

    Raises
    ------
    UserError
        If the configuration does not know the task of a cube.
    """
    unknown = [task for task in cubes if task not in config["tasks"]]
    if unknown:
        raise UserError(f"the configuration has no task {', '.join(unknown)}, of which is a cube")
    tasks = {
        task: DrawnTask(
            tuple(map(str, cube["rho_label"].values)),
            decimal_string(config["tasks"][task]["figure_rho"]),
        )
        for task, cube in cubes.items()
    }
    found: dict[str, Drawing] = {}
    for number in drawable(tasks):
        spec = FIGURES[number]
        found[spec.name] = _figure(
            spec.name,
            partial(paper.draw, spec, cubes.get(spec.task), spec.rho_in(tasks), axis),
        )
    for figure in unnumbered(tasks):
        drawn = partial(paper.draw_kind, figure.kind, cubes[figure.task], figure.rho, axis)
        found[figure.stem] = _figure(figure.stem, drawn)
    for task, cube in cubes.items():
        rho = tasks[task].figure_rho
        there = Decimal(rho) in map(Decimal, tasks[task].rho)
        for name, variable, draw in OF_ONE_RADIUS:
            if variable in cube and there:
                found[f"{name}_{task}"] = _figure(f"{name}_{task}", partial(draw, cube, rho))
        found[f"edge_map_{task}"] = _figure(f"edge_map_{task}", partial(edge_map.draw, cube))
    for name, of in config.get("families", {}).items():
        # An archive may hold some of the tasks alone.
        if all(task in cubes for task in of["tasks"]):
            members = {task: cubes[task] for task in of["tasks"]}
            draw_family = partial(family.draw, members, of["along"], name)
            found[f"family_{name}"] = _figure(f"family_{name}", draw_family)
    if cubes:
        found["claims"] = _figure("claims", lambda: _claims(judged, cubes, config, tasks))
    for task, cube in cubes.items():
        found[f"supplement_{task}"] = _supplement(task, cube, axis)
    return found


def _figure(name: str, draw: Callable[[], paper.Figure]) -> Drawing:
    def drawing(output: Path) -> None:
        paper.save(draw(), *(output / file for file in _files_of([name])))

    return drawing


def _claims(
    table: Sequence[Claim],
    cubes: Mapping[str, xr.Dataset],
    config: Mapping,
    tasks: Mapping[str, DrawnTask],
) -> paper.Figure:
    """Judge claims anew, the tasks in the order of the configuration."""
    order = [task for task in config["tasks"] if task in cubes]
    rho = {task: drawn.figure_rho for task, drawn in tasks.items()}
    judged = verdicts.judge_all(table, [cubes[task] for task in order], rho)
    return claims.draw(judged, order)


def _supplement(task: str, cube: xr.Dataset, axis: str) -> Drawing:
    def drawing(output: Path) -> None:
        write_supplement(collecting.drop_diverged(cube), output / "supplement" / task, axis)

    return drawing


def _read_cubes(archive: PackedExperiment, output: Path) -> dict[str, xr.Dataset]:
    """Return the cubes of an archive by task."""
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".unpacked-", dir=output) as folder:
        try:
            return records.read_cubes(
                archive.extract(name, Path(folder)) for name in archive.cubes()
            )
        except UserError as error:
            # By their names in the archive: the folder is gone when this is read.
            raise UserError(f"{archive.path}: {str(error).replace(f'{folder}/', '')}") from error


def _read_claims(archive: PackedExperiment, output: Path) -> list[Claim]:
    """Return the claims of an archive: those of the table beside its cubes, or else the paper's."""
    if CLAIMS_FILE not in archive.entries:
        return load_claims(TABLE)
    with TemporaryDirectory(prefix=".unpacked-", dir=output) as folder:
        return load_claims(archive.extract(CLAIMS_FILE, Path(folder)))


def _named(name: str, known: Mapping[str, Drawing]) -> str:
    """Return the name of a drawing that is known, of which a number may have been given."""
    full = f"figure_{int(name):02d}" if name.isdecimal() else name
    if full not in known:
        hint = did_you_mean(full, known)
        raise UserError(
            f"{name}: not among the figures that the archive's cubes permit{hint}; "
            f"they are: {', '.join(known)}"
        )
    return full


def _files_of(drawn: Iterable[str]) -> list[str]:
    """Return the files of figures of these names."""
    return [f"{FIGURE_FOLDER}/{name}.{kind}" for name in drawn for kind in KINDS]


def _compared(
    archive: PackedExperiment, output: Path, drawn: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return which files of drawn figures equal those packed, and which do not."""
    equal: list[str] = []
    other: list[str] = []
    files = _files_of(drawn)
    for name, checksum in archive.checksums.items():
        if name in files:
            with (output / name).open("rb") as file:
                (equal if digest(file) == checksum else other).append(name)
    return equal, other
