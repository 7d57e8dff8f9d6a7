r"""What minibatches make of an edge, at the checks of a run.

For minibatches B, with the gradient g and the Hessian H of the loss on the same B, the gradient h
that the rule steps along and its step s there, and F the Hessian of a fixed sample of the data:

- *batch sharpness*, :math:`E[g^\top Hg]/E\lVert g\rVert^2`: a step of SGD leaves
  :math:`E[\ell_B]` of quadratics unchanged if and only if it is 2/eta. The code published with
  arXiv 2412.20553 takes the mean of quotients, :math:`E[g^\top Hg/\lVert g\rVert^2]`, by default;
- *SAM's*, :math:`E[h^\top Hh]/E[h^\top g]`, of steps along h: 2/eta again;
- *generalised*, :math:`E[s^\top Hs]/(-E[s^\top g])`, for the step of any rule: 2;
- the *gradient-noise interaction*, :math:`E[g^\top Fg]/\lVert\nabla L\rVert^2` with L and F of the
  sample: 2/eta if and only if a step of SGD leaves the expected L of a quadratic unchanged, where
  the sample is all the data.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from samedge.config.settings import RunSettings
from samedge.curvature.eigenpairs import RitzPairs, top_eigenpairs
from samedge.machine.signals import raise_if_signalled
from samedge.tasks.model import Noise
from samedge.tasks.problems import Problem
from samedge.training.measuring import solver_options
from samedge.training.observers.observer import STOCHASTIC_KEY, Snapshot
from samedge.training.steps import StepSpec, as_optax_promotes, measure_gradients

#: Hessian-vector products for each minibatch: with g, h and s of its own, and with g of the sample.
PRODUCTS = 4

Batch = tuple[jax.Array, ...]


class Estimate(NamedTuple):
    """A mean over minibatches, or a quotient of two, with its standard error."""

    value: float
    error: float


@partial(jax.jit, static_argnames="spec")
def batch_products(
    spec: StepSpec,
    params: Any,
    state: Any,
    eta: jax.Array,
    rho: jax.Array,
    sample_hessian: Any,
    batch: Batch,
) -> dict[str, jax.Array]:
    """Return the products of one minibatch that the quantities are means of.

    Each is named after its factors: ``gHg`` is the product of g with H g.
    """
    _, gradient, along, hessian = spec.gradients_and_hessian(params, rho, batch)
    with as_optax_promotes():
        step, _ = spec.optimizer(eta).update(along, state, params)
    dot = optax.tree.vdot
    return {
        "gg": dot(gradient, gradient),
        "gHg": dot(gradient, hessian(gradient)),
        "hg": dot(along, gradient),
        "hHh": dot(along, hessian(along)),
        "sg": dot(step, gradient),
        "sHs": dot(step, hessian(step)),
        "gFg": dot(gradient, sample_hessian(gradient)),
    }


def quotient(over: np.ndarray, under: np.ndarray) -> Estimate:
    """Return the quotient of two means over minibatches, with its standard error.

    Its error is that of the mean of ``over - quotient * under``, over the mean of ``under``: right
    to first order. It is NaN of one minibatch.
    """
    mean = float(np.mean(under))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.float64(np.mean(over)) / mean)
        rest = over - value * under
        error = float(_error(rest) / abs(np.float64(mean)))
    return Estimate(value, error)


def _error(values: np.ndarray) -> float:
    """Return the standard error of a mean, NaN of one value."""
    if len(values) < 2:
        return float("nan")
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def quantities(found: Sequence[Mapping[str, float]], sample_norm: float) -> dict[str, Estimate]:
    """Return every quantity of the module's head from the products of minibatches.

    ``sample_norm`` is the norm of the sample's gradient.
    """
    of = {name: np.array([one[name] for one in found], np.float64) for name in found[0]}
    with np.errstate(divide="ignore", invalid="ignore"):
        quotients = of["gHg"] / of["gg"]
        interaction = of["gFg"] / np.float64(sample_norm) ** 2
    return {
        "batch_sharpness": quotient(of["gHg"], of["gg"]),
        "mean_batch_quotient": Estimate(float(np.mean(quotients)), _error(quotients)),
        "sam_batch_sharpness": quotient(of["hHh"], of["hg"]),
        "step_sharpness": quotient(of["sHs"], -of["sg"]),
        "noise_interaction": Estimate(float(np.mean(interaction)), _error(interaction)),
    }


class StochasticObserver:
    """Measures what minibatches make of the edge at every check that ``stochastic`` asks for.

    Attributes
    ----------
    records
        For every check what :func:`samedge.records.files.run_dataset` takes; none where the
        settings ask for no batches.
    """

    def __init__(
        self, settings: RunSettings, problem: Problem, report: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.problem = problem
        self.report = report
        self.spec = StepSpec.of(settings, problem.loss)
        self.key = jax.random.fold_in(jax.random.key(settings.seed), STOCHASTIC_KEY)
        self.records: list[Mapping[str, Any]] = []
        self.start: RitzPairs | None = None
        self._sample = self._chosen_sample()

    def __call__(self, snapshot: Snapshot) -> None:
        """Measure and record at a check.

        Raises
        ------
        FloatingPointError
            If a Hessian-vector product is not finite.
        """
        if not self.settings.stochastic.batches:
            return
        eta, rho = jnp.float32(self.settings.eta), jnp.float32(self.settings.rho)
        sample = (*self._sample, *self._noise(snapshot.step, len(self._sample[0])))
        spec = self._sample_spec()
        _, gradient, _, hessian = measure_gradients(spec, snapshot.params, jnp.float32(0), sample)
        norm = float(optax.tree.norm(gradient))
        found = []
        for batch in self._batches(snapshot.step):
            raise_if_signalled()
            point = (snapshot.params, snapshot.optimizer_state, eta, rho, hessian, batch)
            found.append({name: float(x) for name, x in batch_products(self.spec, *point).items()})
        if not np.all(np.isfinite([[*one.values()] for one in found])):
            raise FloatingPointError
        top = top_eigenpairs(
            self.spec.loss,
            snapshot.params,
            sample,
            k=1,
            key=jax.random.fold_in(self.key, snapshot.step),
            ends=False,
            microbatch=spec.microbatch,
            start=self.start,
            known=hessian,
            pure=True,
            **solver_options(self.settings.curvature),
        )
        self.start = RitzPairs(top.ritz_values, top.ritz_vectors)
        estimates, products = quantities(found, norm), PRODUCTS * len(found) + top.hvp_count
        record: dict[str, Any] = {}
        for name, estimate in estimates.items():
            # The one batch of a run on all of its data is no sample of anything.
            error = 0.0 if self.settings.batch_size is None else estimate.error
            record |= {name: estimate.value, f"{name}_error": error}
        self.records.append(
            record
            | {
                "sample_eigenvalue": float(top.values[0]),
                "sample_eigenvalue_residual": float(top.residuals[0]),
                "sample_gradient_norm": norm,
                "sample_eigenvalue_converged": bool(top.converged[0]),
                "stochastic_products": products,
            }
        )
        self.report(
            f"step {snapshot.step}  batch sharpness {record['batch_sharpness']:.4g} ± "
            f"{record['batch_sharpness_error']:.1g}  λ1 of the sample {top.values[0]:.4g}  "
            f"{products} products"
        )

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes."""
        start = None if self.start is None else list(self.start)
        return {"records": list(self.records), "start": start}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was measured up to a checkpoint."""
        self.records = state["records"]
        if state["start"] is not None:
            values, vectors = state["start"]
            self.start = RitzPairs(np.asarray(values), jnp.asarray(vectors))

    def _chosen_sample(self) -> Batch:
        """Return the examples that are held fixed: all, or so many that the seed chooses."""
        train, count = self.problem.train, self.settings.stochastic.examples
        examples = train[0].shape[0]
        if count is None or count >= examples:
            return train
        random = np.random.default_rng([self.settings.seed, STOCHASTIC_KEY])
        chosen = np.sort(random.choice(examples, count, replace=False))
        return tuple(x[chosen] for x in train)

    def _sample_spec(self) -> StepSpec:
        """Return the spec with pieces that divide the sample, as many examples as a step takes."""
        examples = self._sample[0].shape[0]
        pieces = (self.settings.microbatch, self.settings.batch_size)
        fitting = [size for size in pieces if size is not None and examples % size == 0]
        microbatch = fitting[0] if fitting and not self.problem.noisy else None
        return dataclasses.replace(self.spec, microbatch=microbatch)

    def _batches(self, step: int) -> list[Batch]:
        """Return the minibatches of a check, each drawn for itself, without replacement."""
        train, size = self.problem.train, self.settings.batch_size
        if size is None:
            return [(*train, *self._noise(step, train[0].shape[0]))]
        random = np.random.default_rng([self.settings.seed, STOCHASTIC_KEY, step])
        draws = [
            random.choice(train[0].shape[0], size, replace=False)
            for _ in range(self.settings.stochastic.batches)
        ]
        return [(*(x[drawn] for x in train), *self._noise(step, size)) for drawn in draws]

    def _noise(self, step: int, examples: int) -> Batch:
        if not self.problem.noisy:
            return ()
        return (Noise.of(self.settings.seed, step).keys(examples),)
