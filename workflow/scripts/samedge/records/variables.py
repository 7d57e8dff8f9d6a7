"""The variables of run files and cubes, as one table: dimensions, units, meaning, padding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PER_ETA = ("eta",)
PER_RUN = ("eta", "rho", "seed")
PER_CHECK = (*PER_RUN, "check")
PER_RANK = (*PER_CHECK, "rank")
PER_DENSITY = (*PER_RUN, "density_check")
PER_NODE = (*PER_DENSITY, "probe", "node")
PER_BLOCK = (*PER_RUN, "block_check", "block")
PER_WAY = (*PER_RUN, "way_check")
PER_POINT = (*PER_WAY, "point")

COMPLETED, DIVERGED, MISSING = 0, 1, 2
STATUS = {"completed": COMPLETED, "diverged": DIVERGED, "missing": MISSING}
TEST_METRICS = ("test_error", "test_loss")


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
_CONVERGED = {"not_measured": -1, "not_converged": 0, "converged": 1}
#: What minibatches make of the edge, of a fixed sample of the data too.
_STOCHASTIC = (
    Variable(
        "batch_sharpness",
        PER_CHECK,
        "1",
        "E[g'Hg] over E[g'g] of minibatches, g and H of the same one",
    ),
    Variable(
        "batch_sharpness_error",
        PER_CHECK,
        "1",
        "standard error of batch_sharpness over the minibatches",
    ),
    Variable(
        "mean_batch_quotient",
        PER_CHECK,
        "1",
        "E[g'Hg / g'g] of minibatches, g and H of the same one",
    ),
    Variable(
        "mean_batch_quotient_error",
        PER_CHECK,
        "1",
        "standard error of mean_batch_quotient over the minibatches",
    ),
    Variable(
        "sam_batch_sharpness",
        PER_CHECK,
        "1",
        "E[h'Hh] over E[h'g] of minibatches, h the gradient that SAM steps along",
    ),
    Variable(
        "sam_batch_sharpness_error",
        PER_CHECK,
        "1",
        "standard error of sam_batch_sharpness over the minibatches",
    ),
    Variable(
        "step_sharpness",
        PER_CHECK,
        "1",
        "E[s'Hs] over -E[s'g] of minibatches, s the step of the rule",
    ),
    Variable(
        "step_sharpness_error",
        PER_CHECK,
        "1",
        "standard error of step_sharpness over the minibatches",
    ),
    Variable(
        "noise_interaction",
        PER_CHECK,
        "1",
        "E[g'Fg] of minibatches over the squared gradient norm of the sample, F its Hessian",
    ),
    Variable(
        "noise_interaction_error",
        PER_CHECK,
        "1",
        "standard error of noise_interaction over the minibatches",
    ),
    Variable(
        "sample_eigenvalue", PER_CHECK, "1", "eigenvalue of rank 1 of the Hessian of the sample"
    ),
    Variable("sample_eigenvalue_residual", PER_CHECK, "1", "its residual"),
    Variable(
        "sample_eigenvalue_converged",
        PER_CHECK,
        "",
        "whether its residual met the tolerance",
        dtype=np.int8,
        fill=-1,
        flags=_CONVERGED,
    ),
    Variable("sample_gradient_norm", PER_CHECK, "1", "norm of the gradient of the sample"),
    Variable("stochastic_products", PER_CHECK, "1", "Hessian-vector products spent on all these"),
)
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
        flags=_CONVERGED,
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
    Variable("block_step", PER_BLOCK, "1", "optimiser steps taken before the block was measured"),
    Variable(
        "block_curvature",
        PER_BLOCK,
        "1",
        "eigenvalue of largest magnitude, signed, of the Hessian's block of these parameters",
    ),
    Variable("block_residual", PER_BLOCK, "1", "norm of B v - lambda v for unit v, B the block"),
    Variable(
        "block_converged",
        PER_BLOCK,
        "",
        "whether the block's residual met the tolerance",
        dtype=np.int8,
        fill=-1,
        flags=_CONVERGED,
    ),
    Variable(
        "block_overlooked",
        PER_BLOCK,
        "1",
        "bound on the probability that a further eigenvalue of the block exceeds block_curvature",
    ),
    Variable("block_size", PER_BLOCK, "1", "parameters of the block"),
    Variable("block_products", PER_BLOCK, "1", "Hessian-vector products spent on the block"),
    *_STOCHASTIC,
    Variable("way_step", PER_WAY, "1", "optimiser steps taken before the way was measured"),
    Variable("way_length", PER_WAY, "1", "distance of the point that SAM takes its gradient at"),
    Variable("way_loss", PER_POINT, "1", "training loss on the way to the SAM point"),
    Variable("way_gradient_norm", PER_POINT, "1", "norm of the gradient on the way"),
    Variable("way_slope", PER_POINT, "1", "derivative of the loss along the way"),
    Variable("way_curvature", PER_POINT, "1", "second derivative of the loss along the way"),
    Variable(
        "way_alignment",
        PER_POINT,
        "1",
        "absolute cosine of the gradient on the way with the eigenvector of rank 1 at its start",
    ),
    Variable("step_length", PER_WAY, "1", "norm of the step that follows"),
    Variable(
        "step_length_principal",
        PER_WAY,
        "1",
        "norm of its part in the span of the eigenvectors of all ranks",
    ),
    Variable("step_change", PER_WAY, "1", "change of the training loss by the step"),
    Variable("step_change_principal", PER_WAY, "1", "change by that part of the step alone"),
    Variable("step_change_rest", PER_WAY, "1", "change by the rest of the step alone"),
    Variable("step_predicted", PER_WAY, "1", "step_change of the quadratic at the parameters"),
    Variable("step_predicted_principal", PER_WAY, "1", "step_change_principal of the quadratic"),
    Variable("step_predicted_rest", PER_WAY, "1", "step_change_rest of the quadratic"),
    Variable("way_products", PER_WAY, "1", "Hessian-vector products spent on all these"),
    Variable("gd_edge", PER_ETA, "1", "edge of stability of gradient descent, 2/eta"),
    Variable("status", PER_RUN, "", "how the run ended", dtype=np.int8, fill=MISSING, flags=STATUS),
    Variable("end_step", PER_RUN, "1", "optimiser steps taken when the run ended"),
    Variable("end_reason", PER_RUN, "", "why the run ended", dtype=object, fill=""),
    Variable("test_error", PER_RUN, "1", "fraction of test examples misclassified at the end"),
    Variable("test_loss", PER_RUN, "1", "loss on the test set at the end"),
)
VARIABLES: dict[str, Variable] = {variable.name: variable for variable in _TABLE}
#: What a training job hands over at every check.
STOCHASTIC_KEYS = tuple(v.name for v in _STOCHASTIC)
CHECK_KEYS = tuple(
    v.name for v in _TABLE if v.dims in (PER_CHECK, PER_RANK) and v.name not in STOCHASTIC_KEYS
)
#: What it hands over at every check at which the density is estimated.
DENSITY_KEYS = tuple(v.name for v in _TABLE if v.dims in (PER_DENSITY, PER_NODE))
#: What it hands over for every block at every check at which blocks are measured.
BLOCK_KEYS = tuple(v.name for v in _TABLE if v.dims == PER_BLOCK)
#: What it hands over at every check at which the way to the SAM point is measured.
WAY_KEYS = tuple(v.name for v in _TABLE if v.dims in (PER_WAY, PER_POINT))
#: What is only there where the settings ask for it, by their key.
OPTIONAL: dict[str, tuple[str, ...]] = {
    "density": DENSITY_KEYS,
    "blocks": BLOCK_KEYS,
    "stochastic": STOCHASTIC_KEYS,
    "way": WAY_KEYS,
}
