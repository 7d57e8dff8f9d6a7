"""Run files put one by one into the arrays of a cube, so that memory is the cube's and one run's.

Files are read with netCDF4 itself: building an xarray dataset of some thirty variables for each of
thousands of runs takes several times as long as reading them.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import netCDF4
import numpy as np

from samedge.config.grid import grid_json
from samedge.config.settings import RunSettings
from samedge.records import files, netcdf, schema

#: Dimensions whose size is known when every run has been read.
GROWING = ("check", "rank", "block")


@dataclass(frozen=True)
class RunFile:
    """What a run file holds: sizes of dimensions, values per run and (…) behind it, attributes, and
    the names of its blocks, if it has any.

    Of variables that its version of the schema did not have yet there are no values, and "" stands
    for such an attribute.
    """

    sizes: Mapping[str, int]
    values: Mapping[str, np.ndarray]
    attributes: Mapping[str, object]
    blocks: tuple[str, ...] = ()


def read_run_file(path: str | os.PathLike) -> RunFile:
    """Return the contents of a run file, with the dimensions eta, rho and seed taken away.

    Raises
    ------
    UserError
        As :func:`samedge.records.files.read_run`.
    """
    with netcdf.readable(path), netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        dims = {name: variable.dimensions for name, variable in file.variables.items()}
        attributes = {name: file.getncattr(name) for name in file.ncattrs()}
        sizes = {name: len(dimension) for name, dimension in file.dimensions.items()}
        # All of it, so that whatever is damaged is seen.
        values = {name: variable[...] for name, variable in file.variables.items()}
    schema.require(path, dims, attributes)
    files.require_one_run(path, values["status"].size)
    per_run = [name for name in values if dims[name][:3] == schema.PER_RUN]
    attributes = dict.fromkeys(schema.ENVIRONMENT_ATTRIBUTES, "") | attributes
    blocks = tuple(map(str, values.get("block", ())))
    return RunFile(sizes, {name: values[name][0, 0, 0] for name in per_run}, attributes, blocks)


class Gathering:
    """The arrays of a cube in the making, with what each run that was put in brought along.

    ``environments`` has for each run, by name, its
    :data:`samedge.records.schema.ENVIRONMENT_ATTRIBUTES`. ``blocks`` are the names of the blocks,
    which are those of the model and so the same in every run.
    """

    def __init__(self, expected: Sequence[RunSettings]):
        """Make room for the grid of these runs, every one of them "missing" so far."""
        self.settings = grid_json(expected)
        self.environments: dict[str, dict[str, object]] = {}
        grid = json.loads(self.settings)
        self._axes = [grid[axis] for axis in schema.PER_RUN]
        self.blocks: tuple[str, ...] = ()
        self._measured = schema.measured_in(grid)
        self._sizes = {
            **schema.sizes_of(grid),
            **dict(zip(schema.PER_RUN, map(len, self._axes), strict=True)),
            **dict.fromkeys(GROWING, 0),
        }
        names = schema.variable_names(schema.TEST_METRICS, self._measured)
        self._values = schema.blank_values(names, self._sizes)
        self._extents: dict[str, tuple[tuple[int, ...], frozenset[str]]] = {}
        self._distinct: dict[tuple, dict[str, object]] = {}

    def put(self, settings: RunSettings, run: RunFile) -> None:
        """Put a run where its eta, rho and seed belong."""
        sizes = {dim: run.sizes.get(dim, 0) for dim in GROWING}
        for dim, size in sizes.items():
            self._make_room(dim, size)
        self.blocks = self.blocks or run.blocks
        point = self._point(settings)
        for name, array in self._values.items():
            if name in run.values:
                found = run.values[name]
                array[point + tuple(slice(length) for length in np.shape(found))] = found
        environment = {name: run.attributes[name] for name in schema.ENVIRONMENT_ATTRIBUTES}
        # Thousands of runs share a handful of environments.
        known = self._distinct.setdefault(tuple(environment.values()), environment)
        self.environments[settings.name] = known
        metrics = frozenset(schema.TEST_METRICS) & run.values.keys()
        self._extents[settings.name] = tuple(sizes.values()), metrics

    def remove(self, settings: RunSettings) -> None:
        """Take a run out again."""
        del self.environments[settings.name], self._extents[settings.name]
        point = self._point(settings)
        for name, array in self._values.items():
            if schema.VARIABLES[name].dims[:3] == schema.PER_RUN:
                array[point] = schema.VARIABLES[name].fill

    def values(self) -> dict[str, np.ndarray]:
        """Return the arrays of the cube, as long as the longest run needs."""
        lengths, metrics = zip(*self._extents.values(), strict=True)
        sizes = dict(zip(GROWING, map(max, zip(*lengths, strict=True)), strict=True))
        names = schema.variable_names(frozenset().union(*metrics), self._measured)
        return {
            name: self._values[name][
                tuple(slice(sizes.get(dim)) for dim in schema.VARIABLES[name].dims)
            ]
            for name in names
        }

    def _point(self, settings: RunSettings) -> tuple[int, ...]:
        labels = (getattr(settings, axis) for axis in schema.PER_RUN)
        return tuple(axis.index(label) for axis, label in zip(self._axes, labels, strict=True))

    def _make_room(self, dim: str, length: int) -> None:
        """Lengthen the arrays along a dimension, at least twofold: seldom, though runs differ."""
        if length <= self._sizes[dim]:
            return
        self._sizes[dim] = length if not self._sizes[dim] else max(length, 2 * self._sizes[dim])
        for name, array in self._values.items():
            if dim in schema.VARIABLES[name].dims:
                longer = schema.blank_values([name], self._sizes)[name]
                longer[tuple(slice(size) for size in array.shape)] = array
                self._values[name] = longer
