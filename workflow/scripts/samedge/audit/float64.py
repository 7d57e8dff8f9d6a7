"""A run measured again in float64, at the checks whose parameters it kept.

At the same parameters and data, the loss, both gradient norms, the eigenvalues of largest
magnitude and the ends of the spectrum are computed in float64, the inputs included; what the run
recorded in float32 is held against that. At the float64 eigenvectors, Hessian-vector products made
in other ways are judged by their Rayleigh quotients and residuals: to a solver that relies on such
products the true pair has that residual, however long it iterates. Comparing solvers instead would
mix the errors of products with those of unfinished iterations.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

from samedge.audit.table import (
    EIGENVALUE,
    EXACT,
    FINITE_DIFFERENCE,
    GRADIENT_QUANTITIES,
    RECORDED,
    TENSORFLOAT32,
    AuditedCheck,
    Finding,
)
from samedge.base.errors import UserError
from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import Eigenpairs
from samedge.curvature.krylov.hessian import flat_shape
from samedge.curvature.microbatches import mean_over_microbatches
from samedge.curvature.products import Loss, hessian_vector_product
from samedge.data.file import TaskData
from samedge.machine.signals import raise_if_signalled
from samedge.records.parameters import Kept, SavedParameters
from samedge.tasks.leaves import restore
from samedge.tasks.problems import Problem, build_problem, measured_batch
from samedge.training.measuring import eigenpairs_at, gradients_at
from samedge.training.steps import StepSpec

TOLERANCE = 1e-8  # residual over operator norm of the float64 pairs
FEW = 20  # parameters up to which both ends come from the whole Hessian
# Times the run's own cap on products: iterations are in proportion to the digits asked for.
MORE_PRODUCTS = 10
# Along a unit vector, in the parameters' own unit: that of the paper's published implementation.
DIFFERENCE_STEP = 1e-3

Vector = Any  # a pytree shaped like the parameters


def audit(
    settings: RunSettings,
    data: TaskData,
    run: xr.Dataset,
    saved: SavedParameters,
    report: Callable[[str], None],
) -> list[AuditedCheck]:
    """Return what float64 says about every check whose parameters were kept.

    JAX must be in 64-bit mode. On a GPU the same quantities are also computed with TF32 products.

    Parameters
    ----------
    settings
        The run's settings.
    data, run, saved
        The task's data, the run file and the run's parameters file, as read.
    report
        Called with one line of progress for each check.

    Raises
    ------
    UserError
        If run, parameters and data do not belong together.
    ValueError
        If JAX is not in 64-bit mode.
    Interrupted
        When a signal that was recorded (:mod:`samedge.machine.signals`) has asked the process to
        end.
    """
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError("the audit needs jax_enable_x64")
    _require_match(settings, data, run, saved)
    exact, trained = (build_problem(settings, data, dtype) for dtype in (np.float64, np.float32))
    audited = []
    for number, kept in enumerate(saved.kept):
        check = _check_of(run, kept.step)
        double = _Point(settings, exact, kept, np.float64)
        single = _Point(settings, trained, kept, np.float32)
        recorded = run.isel(eta=0, rho=0, seed=0, check=check)
        audited.append(_audit_check(check, double, single, recorded))
        worst = audited[-1].worst(RECORDED)
        report(
            f"check {number + 1}/{len(saved.kept)}, step {kept.step}  "
            f"λ1 {audited[-1].eigenvalues[0]:.10g}  {audited[-1].products} products"
            f"{'' if all(audited[-1].converged) else ' (not converged)'}  "
            f"float32 off by at most {worst.error:.1e} ({worst.quantity})"
        )
    return audited


class _Point:
    """The parameters at a check and what it measured on, in one floating-point type."""

    def __init__(
        self, settings: RunSettings, problem: Problem, kept: Kept, dtype: type[np.floating]
    ) -> None:
        self.settings = settings
        self.step = kept.step
        self.loss = problem.loss
        shapes = jax.eval_shape(problem.init, jax.random.key(0))
        self.params = jax.tree.map(jnp.asarray, restore(kept.leaves, shapes, dtype))
        self.batch = measured_batch(settings, problem, kept.step)
        self.rho = jnp.asarray(float(settings.rho), dtype)

    def gradient_quantities(self) -> dict[str, float]:
        """Return the loss and the norms of both gradients, by name."""
        raise_if_signalled()
        spec = StepSpec.of(self.settings, self.loss)
        found = gradients_at(spec, self.params, self.rho, self.batch)
        values = (found.loss, found.norm, found.ascended_norm)
        return dict(zip(GRADIENT_QUANTITIES, values, strict=True))

    def eigenpairs(self) -> Eigenpairs:
        """Return the top of the spectrum, as tight as an audit asks for."""
        curvature = self.settings.curvature
        tight = replace(
            curvature, tolerance=TOLERANCE, max_products=MORE_PRODUCTS * curvature.max_products
        )
        return eigenpairs_at(
            replace(self.settings, curvature=tight),
            self.loss,
            self.params,
            self.batch,
            key=jax.random.fold_in(jax.random.key(self.settings.seed), self.step),
            ends=False,
        )

    def ends(self, norm: float) -> tuple[float, float]:
        """Return the smallest and the largest eigenvalue of a Hessian of this operator norm.

        They come from SciPy's ``eigsh``, which knows nothing of how a run finds them.
        """
        flat, unravel = ravel_pytree(self.params)
        if flat.size <= FEW:
            columns = [self._shifted(unravel, norm, row) for row in np.eye(flat.size)]
            values = np.linalg.eigvalsh(np.array(columns))
        else:
            shifted = LinearOperator(
                (flat.size, flat.size), partial(self._shifted, unravel, norm), dtype=np.float64
            )
            start = np.random.default_rng(self.settings.seed).standard_normal(flat.size)
            values = eigsh(
                shifted, 2, which="BE", v0=start, tol=TOLERANCE, return_eigenvectors=False
            )
        return float(min(values)) - 2 * norm, float(max(values)) - 2 * norm

    def _shifted(self, unravel: Callable, norm: float, vector: np.ndarray) -> np.ndarray:
        """Return the Hessian and twice its norm times a flat vector: no end is near zero."""
        raise_if_signalled()
        product = _exact_product(
            self.loss,
            self.settings.microbatch,
            self.params,
            self.batch,
            unravel(jnp.asarray(vector.reshape(-1), flat_shape(self.params).dtype)),
        )
        return np.asarray(ravel_pytree(product)[0], np.float64) + 2 * norm * vector.reshape(-1)

    def rayleigh(self, product: Callable[..., Vector], vector: Vector) -> tuple[float, float]:
        """Return quotient and residual, in float64, of a product made in this point's type."""
        raise_if_signalled()
        rounded = jax.tree.map(lambda x: x.astype(self.rho.dtype), vector)
        made = product(self.loss, self.settings.microbatch, self.params, self.batch, rounded)
        v, p = (np.asarray(ravel_pytree(tree)[0], np.float64) for tree in (rounded, made))
        # Near 1, so that no square leaves the range of the type.
        exponent = int(np.frexp(np.max(np.abs(p)))[1])
        p = np.ldexp(p, -exponent)
        value = v @ p / (v @ v)
        residual = np.linalg.norm(p - value * v) / np.linalg.norm(v)
        return float(np.ldexp(value, exponent)), float(np.ldexp(residual, exponent))


def _audit_check(check: int, double: _Point, single: _Point, recorded: xr.Dataset) -> AuditedCheck:
    """Audit the run's check of this number, whose records are ``recorded``."""
    exact, top = double.gradient_quantities(), double.eigenpairs()
    findings = _of_the_run(recorded, exact, top, double.ends(_operator_norm(top)))
    findings += _of_products(EXACT, _exact_product, single, top)
    findings += _of_products(FINITE_DIFFERENCE, _difference_product, single, top)
    if jax.default_backend() == "gpu":
        # The only platform whose matrix products of float32 can be of TF32.
        with jax.default_matmul_precision("tensorfloat32"):
            findings += [
                Finding.of(name, TENSORFLOAT32, value, exact[name])
                for name, value in single.gradient_quantities().items()
            ]
            findings += _of_products(TENSORFLOAT32, _exact_product, single, top)
    norm = _operator_norm(top)
    return AuditedCheck(
        check=check,
        step=double.step,
        eigenvalues=tuple(float(value) for value in top.values),
        residuals=tuple(float(residual) / norm for residual in top.residuals),
        converged=tuple(bool(flag) for flag in top.converged),
        products=int(top.hvp_count),
        findings=tuple(findings),
    )


def _of_the_run(
    recorded: xr.Dataset, exact: Mapping[str, float], top: Eigenpairs, ends: tuple[float, float]
) -> list[Finding]:
    """Compare what the run recorded at a check."""
    norm = _operator_norm(top)
    findings = [
        Finding.of(name, RECORDED, float(recorded[name]), value) for name, value in exact.items()
    ]
    for rank, value in enumerate(top.values):
        found, residual = (
            float(recorded[name].values[rank]) for name in ("eigenvalue", "eigenvalue_residual")
        )
        name = f"{EIGENVALUE}{rank + 1}"
        findings.append(Finding.of(name, RECORDED, found, value, residual=residual / norm))
    names = ("smallest_eigenvalue", "largest_eigenvalue")
    for name, value in zip(names, ends, strict=True):
        found, bound = (float(recorded[key]) for key in (name, f"{name}_bound"))
        # A check that was not certified measured no end.
        if not np.isnan(found):
            # An end may be near zero; what it is known to is set by the norm.
            findings.append(Finding.of(name, RECORDED, found, value, scale=norm, bound=bound))
    return findings


def _of_products(
    method: str, product: Callable[..., Vector], point: _Point, top: Eigenpairs
) -> list[Finding]:
    """Judge a way of making products, in the type of ``point``, at the exact eigenvectors."""
    norm = _operator_norm(top)
    findings = []
    for rank, (value, vector) in enumerate(zip(top.values, top.vectors, strict=True), 1):
        found, residual = point.rayleigh(product, vector)
        name = f"{EIGENVALUE}{rank}"
        findings.append(Finding.of(name, method, found, value, residual=residual / norm))
    return findings


def _operator_norm(top: Eigenpairs) -> float:
    # A Hessian of zero has residuals of zero: any norm will do.
    return float(np.max(np.abs(top.values))) or 1.0


@partial(jax.jit, static_argnames=("loss", "microbatch"))
def _exact_product(
    loss: Loss, microbatch: int | None, params: Any, batch: tuple[Any, ...], vector: Vector
) -> Vector:
    return hessian_vector_product(loss, params, batch, vector, microbatch)


@partial(jax.jit, static_argnames=("loss", "microbatch"))
def _difference_product(
    loss: Loss, microbatch: int | None, params: Any, batch: tuple[Any, ...], vector: Vector
) -> Vector:
    """Return the central difference of the gradient along a unit vector."""

    def gradient(step: float) -> Vector:
        point = jax.tree.map(lambda w, v: w + step * v, params, vector)
        return mean_over_microbatches(partial(jax.grad(loss), point), batch, microbatch)

    plus, minus = gradient(DIFFERENCE_STEP), gradient(-DIFFERENCE_STEP)
    return jax.tree.map(lambda p, m: (p - m) / (2 * DIFFERENCE_STEP), plus, minus)


def _require_match(
    settings: RunSettings, data: TaskData, run: xr.Dataset, saved: SavedParameters
) -> None:
    """Refuse a run, parameters and data that do not belong together."""
    text = settings.to_json()
    for what, found in (("run file", run.attrs["settings"]), ("parameters file", saved.settings)):
        if found != text:
            raise UserError(
                f"the {what} is not of {settings.task} {settings.name} with the settings asked "
                "for; delete both files of the run, and let the workflow train it again"
            )
    checksums = {
        "run file": run.attrs["data_checksum"],
        "parameters file": saved.data_checksum,
    }
    for what, found in checksums.items():
        if found != data.checksum:
            raise UserError(
                f"the {what} of {settings.task} {settings.name} was made with data of checksum "
                f"{found}, the data file has {data.checksum}; delete both files of the run, and "
                "let the workflow train it again"
            )


def _check_of(run: xr.Dataset, step: int) -> int:
    """Return the number of the run's check after so many steps."""
    [found] = np.nonzero(run["step"].values[0, 0, 0] == step)
    if len(found) != 1:
        raise UserError(
            f"the parameters file has a check at step {step}, the run file has none: one of them "
            "is of another run; delete both, and let the workflow train it again"
        )
    return int(found[0])
