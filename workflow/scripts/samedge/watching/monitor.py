"""Curvature along a training loop of one's own, with the project's measurements and run file."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from samedge.base.errors import UserError
from samedge.config.parts import (
    AuditSettings,
    BudgetSettings,
    CheckSettings,
    CurvatureSettings,
    DatasetSettings,
    DensitySettings,
    DivergenceSettings,
    LossSettings,
    ModelSettings,
    UpdateSettings,
)
from samedge.config.settings import RunSettings, decimal_string
from samedge.curvature import arguments
from samedge.curvature.eigenpairs import RitzPairs
from samedge.curvature.limits import least_vectors
from samedge.curvature.operators.hosted import HostLoss
from samedge.training.measuring import measure
from samedge.training.steps import StepSpec
from samedge.watching.pace import Pace

if TYPE_CHECKING:
    from samedge.watching.recording import Recording


class Monitor:
    """Measures curvature in a training loop of one's own, at the steps at which it is due.

    Call it at every step, or at some, in ascending order::

        monitor = samedge.Monitor(loss, every=100, file="mine.nc")
        for step in range(steps):
            values = monitor(step, params, batch, eta=0.1)  # {} where nothing is due
            params = ...  # a step of one's own

    Each measurement starts from what the one before found, every ``certify``-th is certified. What
    is measured at what cost is that of a check of the workflow (docs/method.md).

    Parameters
    ----------
    loss
        ``loss(params, *batch) -> scalar``, the mean over a batch; the same function for all steps,
        and pure: what changes goes through ``params`` or ``batch``. Or a
        :class:`samedge.HostLoss`, which another library computes on NumPy vectors.
    every, geometric, overhead
        When to measure, one of them: every so many steps; when the step has grown by this factor;
        or whenever measuring has taken at most this share of the time, see
        :class:`samedge.watching.pace.Pace`.
    k, tolerance, max_products
        Eigenvalues, the residual over the operator norm to reach, and the most Hessian-vector
        products of a measurement.
    certify
        Every how many measurements the eigenvalues are challenged and both ends of the spectrum
        bounded; the others follow them by their residuals.
    rule, rule_settings, epsilon
        The update rule whose edge is meant, by its name among ``samedge.RULES``, and its settings;
        what is added to the norm of the gradient that SAM divides by.
    microbatch
        Examples at a time, for less memory; None for all at once.
    seed
        Of the solver's random vectors: a whole number.
    file
        Where to write the project's run file (.nc), anew at every measurement and whole at any
        time. If it is there, the monitor goes on from it; measurements at later steps than the
        first one that it is called with are dropped.
    name
        Of the run, as cubes and the explorer show it.

    Raises
    ------
    TypeError, ValueError, UserError
        For arguments that are not as described, each with what would be right.
    """

    def __init__(
        self,
        loss: Callable[..., jax.Array],
        *,
        every: int | None = None,
        geometric: float | None = None,
        overhead: float | None = None,
        k: int = 3,
        tolerance: float = 1e-3,
        max_products: int = 300,
        certify: int = 5,
        rule: str = "sam",
        rule_settings: Mapping[str, Any] | None = None,
        epsilon: float = 1e-5,
        microbatch: int | None = None,
        seed: int = 0,
        file: str | Path | None = None,
        name: str = "own",
    ) -> None:
        if not callable(loss):
            raise TypeError(f"loss is {loss!r}; give a function loss(params, *batch)")
        arguments.require_whole("k", k, 1)
        arguments.require_whole("certify", certify, 1)
        arguments.require_whole("max_products", max_products, 2 * k)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seed is {seed!r}; give a whole number, from which keys are made")
        self.pace = Pace(every, geometric, overhead)
        vectors = max(40, least_vectors(k))
        self.settings = RunSettings(
            kind="own",
            dataset=DatasetSettings(name, None, None),
            model=ModelSettings(name, {}),
            loss=LossSettings(name),
            update=UpdateSettings(rule, epsilon, dict(rule_settings or {})),
            batch_size=None,
            microbatch=microbatch,
            budget=BudgetSettings(None, None),
            checks=CheckSettings("even", None, None),
            task=name,
            eta="0",
            rho="0",
            seed=seed,
            source="own",
            curvature=CurvatureSettings(
                k, tolerance, max_products, vectors, 1e-3, ends=0.05, certify=certify
            ),
            density=DensitySettings((), 3, 40),
            audit=AuditSettings(()),
            divergence=DivergenceSettings(10.0, 3),
            precision=jax.config.values["jax_default_matmul_precision"] or "default",
        )
        self.spec = StepSpec.of(self.settings, loss)
        self.key = jax.random.key(seed)
        self.recording = None if file is None else _recording(file)
        self.records: list[dict[str, Any]] = []
        self.diverged = ""
        self._starts: list[RitzPairs | None] = [None, None]
        self._began = time.perf_counter()
        self._before = (0.0, 0.0)
        self._tried = False  # whether the loss has been seen to be one
        self._go_on()

    def __repr__(self) -> str:
        last = f", λ1 {self.records[-1]['eigenvalue'][0]:.4g}" if self.records else ""
        return f"Monitor({self.settings.task}: {len(self.records)} measurements{last})"

    def __call__(
        self,
        step: int,
        params: Any,
        batch: Any,
        *,
        eta: float,
        rho: float = 0.0,
        state: Any = None,
    ) -> dict[str, float]:
        """Measure if it is due.

        Parameters
        ----------
        step
            Steps taken so far.
        params, batch
            The parameters, any pytree of float32 arrays, and a tuple of what the loss takes after
            them; of a :class:`samedge.HostLoss` a vector ``(n,)`` and a tuple of anything.
        eta, rho
            Learning rate and radius of the step that follows; they may change from call to call.
        state
            The optimizer's state as Optax has it, which the edge of Adam and RMSProp depends on.

        Returns
        -------
        What was measured, each a float, for a logger as it is; {} where nothing is due, and of a
        loss that is no longer finite ``{"diverged": 1.0}``, once.

        Raises
        ------
        TypeError, ValueError
            For arguments that are not as described.
        """
        if self.diverged or not self.pace.due(step):
            return {}
        began = time.perf_counter()
        settings = self._settings_at(step, params, batch, eta, rho)
        self.records = [one for one in self.records if one["step"] < step]
        certify = len(self.records) % settings.curvature.certify == 0
        try:
            found = measure(
                settings,
                self.spec,
                params,
                tuple(batch),
                jax.random.fold_in(self.key, step),
                self._starts[0],
                certify,
                state=state,
                step=step,
                effective_start=self._starts[1],
            )
        except FloatingPointError as error:
            self.diverged = str(error)
            self._write(step, settings)
            self.pace.measured(step, began)
            return {"diverged": 1.0}
        self._starts = [found.spectrum, found.effective_spectrum]
        training, wall = self._before
        times = {
            "training_time": training + began - self._began - self.pace.spent,
            "wall_time": wall + time.perf_counter() - self._began,
        }
        self.records.append({"step": step, **times, **found.values})
        self._write(step, settings)
        return _flat(found.values) | {"seconds": self.pace.measured(step, began)}

    def _settings_at(
        self, step: int, params: Any, batch: Any, eta: float, rho: float
    ) -> RunSettings:
        """Return the settings of a measurement, once its arguments have been looked at."""
        arguments.require_whole("step", step, 0)
        self._require_loss(params, batch)
        arguments.require_number("eta", eta, lambda x: 0 < x < math.inf, "above 0")
        arguments.require_number("rho", rho, lambda x: 0 <= x < math.inf, "of at least 0")
        return replace(
            self.settings, eta=decimal_string(float(eta)), rho=decimal_string(float(rho))
        )

    def _require_loss(self, params: Any, batch: Any) -> None:
        """Refuse what the loss cannot be measured at, and the first time what is no loss."""
        loss, microbatch = self.spec.loss, self.settings.microbatch
        if isinstance(loss, HostLoss):
            loss.require(params, batch, microbatch)
            if not self._tried:
                loss.operator(params, tuple(batch), symmetric=False).require_symmetric()
        else:
            arguments.require(loss, params, batch, microbatch)
            if not self._tried:
                _require_scalar(loss, params, batch)
        self._tried = True

    def _write(self, step: int, settings: RunSettings) -> None:
        """Write the run file, if one is wanted: it has eta and rho of the first call."""
        if self.recording is None:
            return
        if not self.records or self.settings.eta == "0":
            self.settings = replace(self.settings, eta=settings.eta, rho=settings.rho)
        self.recording.write(self.settings, self.records, step, self.diverged)

    def _go_on(self) -> None:
        """Take up the measurements of a run file that this monitor has written before."""
        if self.recording is None or not self.recording.path.exists():
            return
        self.settings, self.records = self.recording.read(self.settings)
        if self.records:
            last = self.records[-1]
            self._before = float(last["training_time"]), float(last["wall_time"])


def _require_scalar(loss: Callable[..., jax.Array], params: Any, batch: Any) -> None:
    """Refuse a loss that returns something else than one number."""
    out = jax.eval_shape(loss, params, *batch)
    if not isinstance(out, jax.ShapeDtypeStruct) or out.shape != ():
        raise TypeError(
            "the loss returns something else than one scalar; give a function that returns "
            "the loss alone, without auxiliary output, and the mean over the batch"
        )


def _recording(file: str | Path) -> "Recording":
    """Return what writes the run file, and needs more packages than measuring does.

    Raises
    ------
    UserError
        If they are not installed.
    """
    try:
        from samedge.watching.recording import Recording
    except ModuleNotFoundError as error:
        raise UserError(
            f"{file}: a run file needs {error.name}, which is not installed: pip install "
            "'samedge[cubes]', or leave file out"
        ) from error
    return Recording(Path(file))


def _flat(values: Mapping[str, Any]) -> dict[str, float]:
    """Return a measurement as floats by name, without what was not measured."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if name == "eigenvalue_converged":
            found["converged"] = float(np.all(value))
        elif np.ndim(value):
            found |= {f"{name}_{rank}": float(one) for rank, one in enumerate(value, start=1)}
        else:
            found[name] = float(value)
    return {name: value for name, value in found.items() if not math.isnan(value)}
