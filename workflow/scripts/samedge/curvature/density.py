"""The density of the whole Hessian spectrum, by stochastic Lanczos quadrature.

Sources: Ubaru, Chen and Saad (2017), "Fast estimation of tr(f(A)) via stochastic Lanczos
quadrature"; Ghorbani, Krishnan and Xiao (2019), "An investigation into neural net optimization
via Hessian eigenvalue density". What is made of the result, without JAX, is in
:mod:`samedge.curvature.krylov.quadrature`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samedge.curvature import arguments
from samedge.curvature.krylov.hessian import flat_shape, product
from samedge.curvature.krylov.quadrature import Estimate, moment
from samedge.curvature.krylov.rows import Rows, column, outside, without_neighbours
from samedge.curvature.operators.measured import measured
from samedge.curvature.operators.operator import Operator
from samedge.curvature.products import Loss, explained_derivatives
from samedge.curvature.scaling import OperatorScale

ACCURACY = 1e-3  # of the largest node, to which a Hessian near the smallest number must be known


class SpectralDensity(NamedTuple):
    """A density of states as quadrature rules, one for each probe.

    Attributes
    ----------
    nodes
        Eigenvalues, float64 of shape ``(probes, steps)``, ascending; NaN beyond the last of a
        probe whose Krylov space is smaller.
    weights
        Shares of the spectrum, same shape and padding; those of a probe add up to 1.
    mean, mean_square
        Estimates of trace(H)/n and trace(H²)/n with their standard errors over the probes.
    size
        n, the number of parameters.
    hvp_count
        Hessian-vector products of the probes, without those that found the Hessian's scale.
    """

    nodes: np.ndarray
    weights: np.ndarray
    mean: Estimate
    mean_square: Estimate
    size: int
    hvp_count: int

    def __repr__(self) -> str:
        probes, steps = self.nodes.shape
        ends = f"{np.nanmin(self.nodes):.4g} to {np.nanmax(self.nodes):.4g}"
        mean = f"{self.mean.value:.3g} ± {self.mean.error:.1g}"
        return (
            f"SpectralDensity({probes} probes of {steps} products: nodes {ends}, "
            f"trace(H)/n {mean}, n {self.size})"
        )


class _Chain(NamedTuple):
    """A Lanczos recurrence, of m products."""

    diagonal: np.ndarray  # (m,)
    couplings: np.ndarray  # (m,), of each vector with the next
    scale: float  # the norm of the longest product


@explained_derivatives()
def spectral_density(
    loss: Loss | Operator,
    params: Any = None,
    data: tuple[Any, ...] = (),
    probes: int = 10,
    steps: int = 80,
    *,
    key: jax.Array,
    microbatch: int | None = None,
    pure: bool = False,
    pause: Callable[[], None] = lambda: None,
) -> SpectralDensity:
    """Estimate the spectral density of the Hessian of ``loss(params, *data)``, or of an operator.

    The probes are uniform on the sphere, so that estimates vary with the spectrum alone and not
    with how parameters happen to be laid out: v^T A v has the variance 2/(n + 2) times the
    variance of the eigenvalues of A. (With random signs a coordinate that is an eigenvector has no
    error at all, and an eigenvector of two coordinates is missed by every second probe.) From
    each probe Lanczos runs with full reorthogonalisation; the Gauss rule of its tridiagonal
    matrix is the measure of that probe.

    Parameters
    ----------
    loss, params, data, pure
        As in :func:`samedge.curvature.eigenpairs.top_eigenpairs`.
    probes
        Number of random vectors. One at a time is worked on.
    steps
        Hessian-vector products of each probe, and vectors of parameters that have to be kept in
        memory. Where a Krylov space is invariant after fewer, it is exact, and ends there.
    key
        Decides the probes.
    microbatch
        Examples of the data that a product takes at a time; see
        :func:`samedge.curvature.products.hessian_vector_product`.
    pause
        Called before every product; what it raises ends the estimate.

    Raises
    ------
    TypeError, ValueError
        For arguments that are not as described, each with what is wrong where.
    FloatingPointError
        If a Hessian-vector product is not finite, or the Hessian so small that what its type
        takes for zero may count.
    """
    arguments.require_untraced("spectral_density", params, data, key)
    hessian, params = measured(loss, params, data, microbatch, pure)
    arguments.require_key(key)
    arguments.require_whole("probes", probes, 1)
    arguments.require_whole("steps", steps, 1)
    flat = flat_shape(params)
    size, length = flat.size, min(steps, flat.size)
    nodes, weights = np.full((2, probes, steps), np.nan)
    scale = OperatorScale(flat.dtype)
    spent, largest = 0, 0.0
    for probe, probe_key in enumerate(jax.random.split(key, probes)):
        tridiagonalise = partial(_tridiagonalise, params, length, probe_key, pause)
        chain = tridiagonalise(hessian.times(scale.factors))
        while scale.changed_by(chain.scale):
            chain = tridiagonalise(hessian.times(scale.factors))
        if not np.isfinite(chain.scale):
            raise FloatingPointError("a Hessian-vector product is not finite")
        found = len(chain.diagonal)
        spent += found
        multiples, weights[probe, :found] = _gauss_rule(chain.diagonal, chain.couplings[:-1])
        nodes[probe, :found] = scale.original(multiples)
        largest = max(largest, float(np.abs(nodes[probe, :found]).max()))
    if not hessian.is_held(largest, ACCURACY, scale.factors):
        raise FloatingPointError(
            f"the Hessian is too small for {flat.dtype}, which takes for zero what it may be made "
            "of; multiply the loss, or use float64"
        )
    return SpectralDensity(
        nodes, weights, moment(nodes, weights, 1), moment(nodes, weights, 2), size, spent
    )


def _gauss_rule(diagonal: np.ndarray, couplings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of a tridiagonal matrix (Golub and Welsch 1969), on the host."""
    matrix = np.diag(diagonal) + np.diag(couplings, -1)
    nodes, states = np.linalg.eigh(matrix, UPLO="L")
    return nodes, states[0] ** 2


def _tridiagonalise(
    params: Any, steps: int, key: jax.Array, pause: Callable[[], None], hessian: Any
) -> _Chain:
    """Run Lanczos from a random unit vector until it has taken all steps or is invariant.

    ``hessian`` maps pytrees like ``params``. It ends at a product that is not finite.
    """
    flat = flat_shape(params)
    vectors = Rows(steps, flat)
    vector, _, _ = outside(
        vectors.blocks, np.int32(0), jax.random.normal(key, (flat.size,), flat.dtype)
    )
    chain = _Chain(np.zeros(0), np.zeros(0), 0.0)
    # What is left of products within the span of the vectors is rounding.
    rounding = 4 * float(jnp.finfo(flat.dtype).eps)
    before, coupling = vector, jnp.zeros((), flat.dtype)
    for number in range(steps):
        pause()
        vectors.put(number, vector)
        made, value = without_neighbours(product(hessian, params, vector), vector, before, coupling)
        following, length, components = outside(vectors.blocks, np.int32(number + 1), made)
        parts = np.append(column(components, number, value, coupling), float(length))
        before, vector, coupling = vector, following, length
        chain = _Chain(
            np.append(chain.diagonal, parts[number]),
            np.append(chain.couplings, parts[-1]),
            float(np.maximum(chain.scale, np.hypot.reduce(parts))),
        )
        if not parts[-1] > rounding * chain.scale or not np.isfinite(chain.scale):
            break
    return chain
