"""The variables of run files and cubes, as one table: dimensions, units, meaning, padding.

The schema grows by variables and attributes, never otherwise: each version has all of those before
it, and :data:`BROUGHT` says what it added. A file states its version; one that states none is of
the first. What a file's version did not have yet is read as "not there".
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samedge.base.errors import UserError

PER_ETA = ("eta",)
PER_RUN = ("eta", "rho", "seed")
PER_CHECK = (*PER_RUN, "check")
PER_RANK = (*PER_CHECK, "rank")
PER_DENSITY = (*PER_RUN, "density_check")
PER_NODE = (*PER_DENSITY, "probe", "node")

COMPLETED, DIVERGED, MISSING = 0, 1, 2
STATUS = {"completed": COMPLETED, "diverged": DIVERGED, "missing": MISSING}
TEST_METRICS = ("test_error", "test_loss")
#: Global attributes that the training job supplies; the rest :mod:`samedge.records.files` adds.
ENVIRONMENT_ATTRIBUTES = (
    "git_commit",
    "package_versions",
    "unlocked_packages",
    "device",
    "matmul_precision",
    "jax_settings",
    "plugins",
    "data_source",
    "data_description",
    "data_stand_in",
    "data_checksum",
)
VERSION_ATTRIBUTE = "schema_version"
#: What each version of the schema brought after the first: names of variables and of global
#: attributes. Whatever is added to the schema is also added here, under the next version.
BROUGHT: Mapping[int, tuple[str, ...]] = {
    2: (VERSION_ATTRIBUTE, "jax_settings"),
    3: ("largest_eigenvalue_bound", "smallest_eigenvalue_bound"),
    4: ("plugins", "learning_rate", "effective_curvature", "edge_ratio"),
}
#: The version that files are written in.
VERSION = max(BROUGHT)


@dataclass(frozen=True)
class Variable:
    """One variable of the schema: its dimensions, unit, meaning and the value of "not there"."""

    name: str
    dims: tuple[str, ...]
    units: str
    long_name: str
    dtype: type = np.float64
    fill: object = np.nan
    flags: Mapping[str, int] = field(default_factory=dict)

    def attributes(self) -> dict:
        """Return the variable's NetCDF attributes, CF flags included."""
        attributes: dict[str, Any] = {"long_name": self.long_name}
        if self.units:
            attributes["units"] = self.units
        if self.flags:
            attributes["flag_values"] = np.array(list(self.flags.values()), self.dtype)
            attributes["flag_meanings"] = " ".join(self.flags)
        return attributes


# Counts are kept as floats, exact up to 2**53, so that padding is NaN to every reader.
_TABLE = (
    Variable("step", PER_CHECK, "1", "optimiser steps taken before the check"),
    Variable("training_time", PER_CHECK, "s", "time spent training, measuring left out"),
    Variable("wall_time", PER_CHECK, "s", "time since the run began, measuring included"),
    Variable("training_loss", PER_CHECK, "1", "training loss as trained"),
    Variable("gradient_norm", PER_CHECK, "1", "norm of the gradient of the training loss"),
    Variable("sam_gradient_norm", PER_CHECK, "1", "norm of the gradient that SAM steps along"),
    Variable("learning_rate", PER_CHECK, "1", "learning rate of the step that follows"),
    Variable("sam_edge", PER_CHECK, "1", "SAM edge at the gradient norm; 2/eta at rho = 0"),
    Variable(
        "effective_curvature",
        PER_CHECK,
        "1",
        "what meets the edge of the update rule; the eigenvalue of rank 1 for GD and SAM",
    ),
    Variable("edge_ratio", PER_CHECK, "1", "magnitude of effective_curvature over the edge"),
    Variable("eigenvalue", PER_RANK, "1", "Hessian eigenvalues of largest magnitude, signed"),
    Variable("eigenvalue_residual", PER_RANK, "1", "norm of H v - lambda v for unit v"),
    Variable(
        "eigenvalue_converged",
        PER_RANK,
        "",
        "whether the residual met the tolerance",
        dtype=np.int8,
        fill=-1,
        flags={"not_measured": -1, "not_converged": 0, "converged": 1},
    ),
    Variable(
        "overlooked",
        PER_CHECK,
        "1",
        "bound on the probability that a further eigenvalue exceeds those of the ranks",
    ),
    Variable("largest_eigenvalue", PER_CHECK, "1", "algebraically largest Hessian eigenvalue"),
    Variable("smallest_eigenvalue", PER_CHECK, "1", "algebraically smallest Hessian eigenvalue"),
    Variable(
        "largest_eigenvalue_bound",
        PER_CHECK,
        "1",
        "what no Hessian eigenvalue exceeds, but with the probability that was put up with",
    ),
    Variable(
        "smallest_eigenvalue_bound",
        PER_CHECK,
        "1",
        "what no Hessian eigenvalue is below, but with the probability that was put up with",
    ),
    Variable(
        "gradient_alignment",
        PER_CHECK,
        "1",
        "absolute cosine of the gradient with the eigenvector of rank 1",
    ),
    Variable(
        "sam_gradient_alignment",
        PER_CHECK,
        "1",
        "absolute cosine of the SAM gradient with the eigenvector of rank 1",
    ),
    Variable("hessian_vector_products", PER_CHECK, "1", "Hessian-vector products of the check"),
    Variable("density_step", PER_DENSITY, "1", "optimiser steps taken before the density"),
    Variable("density_node", PER_NODE, "1", "nodes of each probe's density of eigenvalues"),
    Variable("density_weight", PER_NODE, "1", "share of the eigenvalues at each node"),
    Variable("density_mean", PER_DENSITY, "1", "mean eigenvalue, trace(H)/n"),
    Variable("density_mean_error", PER_DENSITY, "1", "standard error of density_mean over probes"),
    Variable("density_mean_square", PER_DENSITY, "1", "mean squared eigenvalue, trace(H H)/n"),
    Variable(
        "density_mean_square_error",
        PER_DENSITY,
        "1",
        "standard error of density_mean_square over probes",
    ),
    Variable("density_size", PER_DENSITY, "1", "number n of eigenvalues, and of parameters"),
    Variable("density_products", PER_DENSITY, "1", "Hessian-vector products of the density"),
    Variable("gd_edge", PER_ETA, "1", "edge of stability of gradient descent, 2/eta"),
    Variable("status", PER_RUN, "", "how the run ended", dtype=np.int8, fill=MISSING, flags=STATUS),
    Variable("end_step", PER_RUN, "1", "optimiser steps taken when the run ended"),
    Variable("end_reason", PER_RUN, "", "why the run ended", dtype=object, fill=""),
    Variable("test_error", PER_RUN, "1", "fraction of test examples misclassified at the end"),
    Variable("test_loss", PER_RUN, "1", "loss on the test set at the end"),
)
VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _TABLE}
#: What a training job hands over at every check.
CHECK_KEYS = tuple(v.name for v in _TABLE if v.dims in (PER_CHECK, PER_RANK))
#: What it hands over at every check at which the density is estimated.
DENSITY_KEYS = tuple(v.name for v in _TABLE if v.dims in (PER_DENSITY, PER_NODE))


def variable_names(test_metrics: Iterable[str], density: bool) -> list[str]:
    """Return the variables of the schema in order, with only these of the test metrics.

    Those of the spectral density are there if some is estimated.
    """
    left_out = {*TEST_METRICS} - {*test_metrics}
    if not density:
        left_out |= {*DENSITY_KEYS}
    return [name for name in VARIABLES if name not in left_out]


def blank_values(names: Iterable[str], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return an array of "not there" for every named variable, shaped by ``sizes`` per dim."""
    variables = (VARIABLES[name] for name in names)
    return {
        v.name: np.full([sizes[dim] for dim in v.dims], v.fill, dtype=v.dtype) for v in variables
    }


def density_sizes(settings: Mapping) -> dict[str, int]:
    """Return the sizes of the dimensions of the spectral density, from settings as a dictionary."""
    density = settings["density"]
    return {
        "density_check": len(density["at"]),
        "probe": density["probes"],
        "node": density["steps"],
    }


def names_beside(present: Collection[str]) -> list[str]:
    """Return the variables, in order, of a file of today's version that has those ``present``.

    These tell which test metrics it has, and whether a spectral density.
    """
    metrics = [metric for metric in TEST_METRICS if metric in present]
    return variable_names(metrics, density=any(name in present for name in DENSITY_KEYS))


def require_known_version(
    where: str | os.PathLike, attributes: Mapping[str, object], key: str = VERSION_ATTRIBUTE
) -> int:
    """Return the version of the schema that a file's attributes state under ``key``.

    Raises
    ------
    UserError
        Naming the file as ``where``, if the version is none or later than :data:`VERSION`.
    """
    stated = str(attributes.get(key, 1))
    if not (stated.isascii() and stated.isdecimal() and int(stated) > 0):
        raise UserError(f"{where}: its {key} is '{stated}', must be a whole number from 1")
    if int(stated) > VERSION:
        raise UserError(
            f"{where}: of version {stated} of the schema, and this samedge knows versions up to "
            f"{VERSION}; read it with a newer samedge"
        )
    return int(stated)


def require(
    path: str | os.PathLike,
    dims: Mapping[str, tuple[str, ...]],
    attributes: Mapping[str, object],
) -> None:
    """Raise UserError unless variables of these dimensions, and these attributes, are a cube's.

    They have to be all that the file's own version of the schema has.
    """
    version = require_known_version(path, attributes)
    problem = _problem(version, dims, attributes)
    if problem:
        raise UserError(f"{path}: not a run file or cube of samedge: {problem}")


def _problem(version: int, dims: Mapping[str, tuple[str, ...]], attributes: Collection[str]) -> str:
    later = {name for brought, names in BROUGHT.items() if brought > version for name in names}
    for name in names_beside(dims):
        if name in dims:
            if dims[name] != VARIABLES[name].dims:
                return f"'{name}' has dimensions {dims[name]}, not {VARIABLES[name].dims}"
        elif name not in later:
            return f"it has no variable '{name}'"
    for name in ("settings", *ENVIRONMENT_ATTRIBUTES):
        if name not in attributes and name not in later:
            return f"it has no global attribute '{name}'"
    return ""
