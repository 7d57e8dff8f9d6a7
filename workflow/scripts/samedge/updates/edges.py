r"""The edges of stability in closed form, for gradient descent and for SAM.

They are about one step on a quadratic with gradient :math:`g` and Hessian :math:`H`, whose
eigenvalues are :math:`\lambda_i` and whose eigenvectors are :math:`v_i`. A step of SAM changes the
loss by

.. math:: -\eta\sum_i (v_i\cdot g)^2 c_i\left(1 - \tfrac12\eta c_i\lambda_i\right),
          \qquad c_i = 1 + \rho\lambda_i/\lVert g\rVert

(Long & Bartlett 2024, equation 2; :math:`c_i = 1` under gradient descent). An edge is the
eigenvalue above which a term raises the loss, the bound on negative curvature the one below which
it does.

The functions take numbers or arrays (NumPy or JAX), which broadcast; NaN in an array stands for
what is missing, and stays. They raise a ValueError for numbers out of range, and a TypeError for
what is none.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

#: Numbers or arrays of them, which broadcast.
Numbers = Any


def gd_edge(eta: Numbers) -> Numbers:
    """Return the edge of gradient descent, ``2/eta`` (in units of curvature).

    A step lowers the loss of any quadratic whose Hessian's operator norm is below it.

    Source: Cohen et al. 2021; Proposition 1 of Long & Bartlett 2024.
    """
    _require_above_zero(eta=eta)
    return 2.0 / eta


def sam_edge(gradient_norm: Numbers, eta: Numbers, rho: Numbers) -> Numbers:
    r"""Return the SAM edge, the positive root of :math:`\eta\lambda(1+\rho\lambda/\|g\|) = 2`.

    A step lowers the loss of any quadratic whose Hessian has no negative eigenvalue and an operator
    norm below it (Proposition 2 of the paper), and of any whose eigenvalues are above
    :func:`negative_curvature_bound` and below it (Proposition 3).

    The paper writes it as
    :math:`\frac{\|g\|}{2\rho}\left(\sqrt{1 + 8\rho/(\eta\|g\|)} - 1\right)`. Multiplied by the
    conjugate root this is :math:`4 / (\eta (1 + \sqrt{1 + 8\rho/(\eta\|g\|)}))`, which cancels
    nowhere and equals ``2/eta`` at ``rho = 0`` without a branch.

    Parameters
    ----------
    gradient_norm
        Norm of the loss gradient at the parameters, > 0.
    eta
        Learning rate, > 0.
    rho
        Radius of the perturbation, >= 0.
    """
    _require_above_zero(gradient_norm=gradient_norm, eta=eta)
    _require_radius(rho)
    return 4.0 / (eta * (1.0 + (1.0 + 8.0 * rho / (eta * gradient_norm)) ** 0.5))


def negative_curvature_bound(gradient_norm: Numbers, rho: Numbers) -> Numbers:
    r"""Return the eigenvalue :math:`-\|g\|/\rho` down to which no term of a step raises the loss.

    At it :math:`c_i` is zero (Proposition 3 of Long & Bartlett 2024). Below it SAM
    steps uphill along the eigenvector.

    Parameters
    ----------
    gradient_norm
        Norm of the loss gradient at the parameters, >= 0.
    rho
        Radius of the perturbation, > 0: gradient descent has no such bound.
    """
    return -gradient_norm / rho


def unnormalized_sam_edge(eta: Numbers, rho: Numbers) -> Numbers:
    r"""Return the edge of SAM without normalisation, the positive root of a quadratic equation.

    The equation is :math:`\eta\lambda(1+\rho\lambda)=2`, the root
    :math:`(\sqrt{1 + 8\rho/\eta} - 1)/(2\rho)`, written without cancellation.
    """
    _require_above_zero(eta=eta)
    _require_radius(rho)
    return 4.0 / (eta * (1.0 + (1.0 + 8.0 * rho / eta) ** 0.5))


def displaced_edge(limit: Numbers, slope: Numbers) -> Numbers:
    r"""Return the edge of a rule that takes its gradient at a displacement.

    It is the positive root of :math:`\lambda(1 + r\lambda) = s`, as
    :math:`2s/(1+\sqrt{1+4rs})`, which equals s at ``r = 0``. SAM's, with :math:`s = 2/\eta` and
    :math:`r = \rho/\lVert g\rVert`, is :func:`sam_edge`.

    Parameters
    ----------
    limit
        s > 0, the curvature at which the rule turns unstable without the displacement.
    slope
        r >= 0, where the displacement is r times the gradient.
    """
    _require_above_zero(limit=limit)
    _require("slope", slope, lambda numbers: ~(numbers < 0), "of at least 0")
    return 2.0 * limit / (1.0 + (1.0 + 4.0 * slope * limit) ** 0.5)


def edge_ratio(alpha: Numbers) -> Numbers:
    r"""Return SAM edge over GD edge, :math:`\frac{\alpha}{2}(\sqrt{1+4/\alpha}-1)` (Figure 1).

    Here :math:`\alpha = \eta\|g\|/(2\rho)` > 0. The ratio tends to 1 as alpha grows and to 0 like
    :math:`\sqrt\alpha`; it is computed as :math:`2/(1+\sqrt{1+4/\alpha})`.
    """
    _require_above_zero(alpha=alpha)
    return 2.0 / (1.0 + (1.0 + 4.0 / alpha) ** 0.5)


def _require_above_zero(**values: Numbers) -> None:
    for name, value in values.items():
        _require(name, value, lambda numbers: ~(numbers <= 0), "above 0")


def _require_radius(rho: Numbers) -> None:
    _require("rho", rho, lambda numbers: ~(numbers < 0), "of at least 0")


def _require(
    name: str, value: Numbers, fits: Callable[[np.ndarray], np.ndarray], asked: str
) -> None:
    """Refuse numbers that do not fit; traced arrays, whose numbers are not there yet, pass."""
    try:
        numbers = np.asarray(value)
    except TypeError:  # JAX traces it
        return
    if numbers.dtype.kind not in "fiu":
        raise TypeError(f"{name} is a {type(value).__name__}, and has to be a number {asked}")
    wrong = ~fits(numbers) if numbers.ndim else ~(fits(numbers) & ~np.isnan(numbers))
    if np.any(wrong):
        raise ValueError(f"{name} is {numbers[wrong][0]:g}, and has to be a number {asked}")
