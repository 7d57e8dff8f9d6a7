r"""The edges of stability in closed form, for gradient descent and for SAM.

On a quadratic with Hessian eigenvalue :math:`\lambda`, one step multiplies the component of the
gradient along the eigenvector by :math:`1 - \eta\lambda` under gradient descent, and by
:math:`1 - \eta\lambda(1 + \rho\lambda/\lVert g\rVert)` under SAM, where only
:math:`\lVert g\rVert` changes from step to step. The edge is the :math:`\lambda` at which the
factor is :math:`-1` (Long & Bartlett 2024, Section 2 and Proposition 2).

The functions take numbers or arrays (NumPy or JAX), which broadcast.
"""


def gd_edge(eta):
    """Return the edge of gradient descent, ``2/eta`` (in units of curvature).

    Source: Cohen et al. 2021; Proposition 1 of Long & Bartlett 2024.
    """
    return 2.0 / eta


def sam_edge(gradient_norm, eta, rho):
    r"""Return the SAM edge, the positive root of :math:`\eta\lambda(1+\rho\lambda/\|g\|) = 2`.

    The paper (Proposition 2) writes it as
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
    return 4.0 / (eta * (1.0 + (1.0 + 8.0 * rho / (eta * gradient_norm)) ** 0.5))


def unnormalized_sam_edge(eta, rho):
    r"""Return the edge of SAM without normalisation, the positive root of a quadratic equation.

    The equation is :math:`\eta\lambda(1+\rho\lambda)=2`, the root
    :math:`(\sqrt{1 + 8\rho/\eta} - 1)/(2\rho)`, written without cancellation.
    """
    return 4.0 / (eta * (1.0 + (1.0 + 8.0 * rho / eta) ** 0.5))


def edge_ratio(alpha):
    r"""Return SAM edge over GD edge, :math:`\frac{\alpha}{2}(\sqrt{1+4/\alpha}-1)` (Figure 1).

    Here :math:`\alpha = \eta\|g\|/(2\rho)` > 0. The ratio tends to 1 as alpha grows and to 0 like
    :math:`\sqrt\alpha`; it is computed as :math:`2/(1+\sqrt{1+4/\alpha})`.
    """
    return 2.0 / (1.0 + (1.0 + 4.0 / alpha) ** 0.5)
