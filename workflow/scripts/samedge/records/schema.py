"""What run files and cubes have in each version of their schema, and whether a file does.

The schema grows by variables (:mod:`samedge.records.variables`) and attributes, never otherwise:
each version has all of those before it, and :data:`BROUGHT` says what it added. A file states its
version; one that states none is of the first. What a file's version did not have yet is read as
"not there".
"""

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from samedge.base.errors import UserError
from samedge.config.parts import WaySettings
from samedge.records.variables import (
    BLOCK_KEYS,
    CHECK_KEYS,
    COMPLETED,
    DENSITY_KEYS,
    DIVERGED,
    MISSING,
    OPTIONAL,
    PER_CHECK,
    PER_RUN,
    STATUS,
    STOCHASTIC_KEYS,
    TEST_METRICS,
    VARIABLES,
    WAY_KEYS,
    Variable,
)

__all__ = [
    "BLOCK_KEYS",
    "CHECK_KEYS",
    "COMPLETED",
    "DENSITY_KEYS",
    "DIVERGED",
    "MISSING",
    "OPTIONAL",
    "PER_CHECK",
    "PER_RUN",
    "STATUS",
    "STOCHASTIC_KEYS",
    "TEST_METRICS",
    "VARIABLES",
    "WAY_KEYS",
    "Variable",
]

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
    5: (
        "block_step",
        "block_curvature",
        "block_residual",
        "block_converged",
        "block_overlooked",
        "block_size",
        "block_products",
    ),
    6: (
        "batch_sharpness",
        "batch_sharpness_error",
        "mean_batch_quotient",
        "mean_batch_quotient_error",
        "sam_batch_sharpness",
        "sam_batch_sharpness_error",
        "step_sharpness",
        "step_sharpness_error",
        "noise_interaction",
        "noise_interaction_error",
        "sample_eigenvalue",
        "sample_eigenvalue_residual",
        "sample_eigenvalue_converged",
        "sample_gradient_norm",
        "stochastic_products",
    ),
    7: (
        "way_step",
        "way_length",
        "way_loss",
        "way_gradient_norm",
        "way_slope",
        "way_curvature",
        "way_alignment",
        "step_length",
        "step_length_principal",
        "step_change",
        "step_change_principal",
        "step_change_rest",
        "step_predicted",
        "step_predicted_principal",
        "step_predicted_rest",
        "way_products",
    ),
}
#: The version that files are written in.
VERSION = max(BROUGHT)


def variable_names(test_metrics: Iterable[str], measured: Collection[str]) -> list[str]:
    """Return the variables of the schema in order, with only these of the test metrics.

    Of what is :data:`OPTIONAL` only that is there which is ``measured``.
    """
    left_out = {*TEST_METRICS} - {*test_metrics}
    for key, names in OPTIONAL.items():
        if key not in measured:
            left_out |= {*names}
    return [name for name in VARIABLES if name not in left_out]


def measured_in(settings: Mapping) -> list[str]:
    """Return what is :data:`OPTIONAL` and asked for, by settings as a dictionary."""
    asked = {key: settings.get(key, {}) for key in OPTIONAL}
    return [key for key, one in asked.items() if one.get("at") or one.get("batches")]


def blank_values(names: Iterable[str], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return an array of "not there" for every named variable, shaped by ``sizes`` per dim."""
    variables = (VARIABLES[name] for name in names)
    return {
        v.name: np.full([sizes[dim] for dim in v.dims], v.fill, dtype=v.dtype) for v in variables
    }


def sizes_of(settings: Mapping) -> dict[str, int]:
    """Return the sizes of the dimensions of density, blocks and way, from settings as a dictionary.

    How many blocks there are only the model says.
    """
    density = settings["density"]
    return {
        "density_check": len(density["at"]),
        "probe": density["probes"],
        "node": density["steps"],
        "block_check": len(block_shares(settings)),
        "way_check": len(way_of(settings)["at"]),
        "point": way_of(settings)["points"],
    }


def block_shares(settings: Mapping) -> list[float]:
    """Return the shares of the budget at which blocks are measured, from such settings."""
    return list(settings.get("blocks", {}).get("at", ()))


def way_of(settings: Mapping) -> dict:
    """Return where and at how many points the way is measured, from such settings."""
    return dataclasses.asdict(WaySettings()) | settings.get("way", {})


def names_beside(present: Collection[str]) -> list[str]:
    """Return the variables, in order, of a file of today's version that has those ``present``.

    These tell which test metrics it has, and what is :data:`OPTIONAL`.
    """
    metrics = [metric for metric in TEST_METRICS if metric in present]
    there = [key for key, names in OPTIONAL.items() if any(name in present for name in names)]
    return variable_names(metrics, there)


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
