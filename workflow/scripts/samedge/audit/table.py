"""What audits found, as files and as a table of float32 error per task; no JAX.

An audit file is JSON: a run's settings, where the audit was made, and for every audited check the
float64 eigenvalues and the *findings*, one for each quantity and way of computing it. Of a check's
numbers, null stands for not-a-number and "inf" or "-inf" for infinity, which JSON does not know.
"""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samedge.base.errors import UserError
from samedge.base.files import whole_file
from samedge.config.settings import RunSettings, build

GRADIENT_QUANTITIES = ("training_loss", "gradient_norm", "sam_gradient_norm")
EIGENVALUE = "eigenvalue_"  # and the rank, from 1

RECORDED = "recorded"
EXACT = "float32"
FINITE_DIFFERENCE = "finite_difference"
TENSORFLOAT32 = "tensorfloat32"
#: What each way of computing is called at the head of a column.
METHODS = {
    RECORDED: "the run",
    EXACT: "float32 products",
    FINITE_DIFFERENCE: "finite differences",
    TENSORFLOAT32: "TF32",
}
NO_GPU = "not run on a GPU"
NOT_APPLICABLE = "–"
NOTE = """\
Everything is computed again in float64 at the same parameters and data, eigenpairs to a residual
of {tolerance} of the operator norm. *{recorded}* is what training recorded. The other columns are
products of the Hessian, made in float32, with the float64 eigenvectors: exact ones, central
differences of the gradient with a step of {step}, and exact ones of TF32 matrix products. The
ends of the spectrum are off by a share of the operator norm, all else by a share of itself. An end
that the run recorded with a bound is off by how far the exact one lies outside of the two."""


@dataclass(frozen=True)
class Finding:
    """One quantity, computed in one way, against float64.

    Attributes
    ----------
    quantity
        ``training_loss``, …, ``eigenvalue_1``, … or an end of the spectrum.
    method
        A key of :data:`METHODS`.
    value, exact
        As computed in this way, and in float64.
    error
        abs(value − exact) over abs(exact), or over the operator norm for an end. Of an end that was
        recorded with a bound, how far ``exact`` lies outside of the interval from one to the other,
        over the norm.
    residual
        Of an eigenvalue: the residual over the operator norm, else NaN. That of ``recorded`` is
        the run's own; the others are of products with the float64 eigenvector.
    """

    quantity: str
    method: str
    value: float
    exact: float
    error: float
    residual: float = math.nan

    @classmethod
    def of(
        cls,
        quantity: str,
        method: str,
        value: float,
        exact: float,
        scale: float | None = None,
        residual: float = math.nan,
        bound: float = math.nan,
    ) -> "Finding":
        """Return the finding with its error over ``scale``, by default the exact magnitude.

        With a ``bound`` that is a number, what lies between it and ``value`` is no error.
        """
        exact = float(exact)
        low, high = (value, value) if math.isnan(bound) else sorted((value, bound))
        difference = math.nan if math.isnan(value) else max(low - exact, exact - high, 0.0)
        scale = abs(exact) if scale is None else scale
        error = difference / scale if scale else (math.inf if difference else 0.0)
        return cls(quantity, method, value, exact, error, residual)


@dataclass(frozen=True)
class AuditedCheck:
    """What float64 says about one check.

    Attributes
    ----------
    check, step
        Number of the check in the run file, and the optimiser steps before it.
    eigenvalues, residuals, converged
        The float64 eigenvalues by decreasing magnitude, their residuals over the operator norm,
        and whether each met the audit's tolerance.
    products
        Hessian-vector products that these took.
    findings
        Everything compared.
    """

    check: int
    step: int
    eigenvalues: tuple[float, ...]
    residuals: tuple[float, ...]
    converged: tuple[bool, ...]
    products: int
    findings: tuple[Finding, ...]

    def worst(self, method: str) -> Finding:
        """Return the finding of this method with the largest error; not-a-number is largest."""
        found = [finding for finding in self.findings if finding.method == method]
        return max(found, key=lambda finding: (math.isnan(finding.error), finding.error))


@dataclass(frozen=True)
class Audit:
    """A run's audit.

    Attributes
    ----------
    settings, environment
        Of the run, and where the audit was made (see ``records.schema.ENVIRONMENT_ATTRIBUTES``).
    tolerance
        Residual over operator norm asked of the float64 eigenpairs.
    difference_step
        Length of the displacements of the finite differences.
    checks
        The checks whose parameters the run had kept, none if it diverged before.
    """

    settings: RunSettings
    environment: Mapping[str, object]
    tolerance: float
    difference_step: float
    checks: tuple[AuditedCheck, ...]


def write_audit(audit: Audit, path: str | os.PathLike) -> None:
    """Write an audit file, whole or not at all."""
    content = _spelled(asdict(audit))
    with whole_file(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_audit(path: str | os.PathLike) -> Audit:
    """Read an audit file.

    Raises
    ------
    UserError
        If it is missing or no audit file.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Audit(
            build(RunSettings, content.pop("settings")),
            checks=tuple(_check(check) for check in content.pop("checks")),
            **content,
        )
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; the rule audit_run writes it") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: no audit of samedge, or damaged ({type(error).__name__}: {error}); delete "
            "it, and let the rule audit_run write it again"
        ) from error


def read_audits(expected: Iterable[RunSettings], folder: Path) -> list[Audit]:
    """Read ``folder/<task>/<run name>.json`` of every expected run.

    Raises
    ------
    UserError
        Naming every audit that is missing, damaged, or of other settings.
    """
    audits, problems = [], []
    for run in expected:
        path = Path(folder) / run.task / f"{run.name}.json"
        try:
            audits.append(read_audit(path))
        except UserError as error:
            problems.append(str(error))
            continue
        if audits[-1].settings != run:
            problems.append(f"{path}: of other settings; delete it, and rerun the workflow")
    if problems:
        raise UserError("\n  ".join(["audits that cannot be used:", *problems]))
    return audits


def errors_csv(audits: Iterable[Audit]) -> str:
    """Return every finding of every audit, one a line."""
    text = io.StringIO()
    fields = ("task", "eta", "rho", "seed", "check", "step", *Finding.__dataclass_fields__)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(fields)
    for audit in audits:
        run = audit.settings
        for check in audit.checks:
            point = (run.task, run.eta, run.rho, run.seed, check.check, check.step)
            for finding in check.findings:
                values = (
                    "" if isinstance(value, float) and math.isnan(value) else value
                    for value in asdict(finding).values()
                )
                table.writerow((*point, *values))
    return text.getvalue()


def errors_markdown(audits: Sequence[Audit]) -> str:
    """Return the table of errors, median and worst, for each task."""
    tolerances, steps = (
        ", ".join(f"{value:g}" for value in sorted({getattr(audit, name) for audit in audits}))
        for name in ("tolerance", "difference_step")
    )
    parts = [
        "# float32 against float64",
        NOTE.format(recorded=METHODS[RECORDED], tolerance=tolerances, step=steps),
    ]
    for task in dict.fromkeys(audit.settings.task for audit in audits):
        parts += _task_section(task, [audit for audit in audits if audit.settings.task == task])
    return "\n\n".join(parts) + "\n"


def _task_section(task: str, audits: Sequence[Audit]) -> list[str]:
    checks = [check for audit in audits for check in audit.checks]
    findings = [finding for check in checks for finding in check.findings]
    devices = sorted({str(audit.environment["device"]) for audit in audits})
    heading = f"## {task}"
    if not findings:
        return [heading, f"{len(audits)} runs, none of which kept parameters before it ended."]
    certified = [flag for check in checks for flag in check.converged]
    empty = sum(not audit.checks for audit in audits)
    summary = (
        f"{len(audits)} runs, {len(checks)} checks, on {', '.join(devices)}; "
        f"{sum(certified)} of {len(certified)} eigenpairs certified in float64."
    )
    if empty:
        summary += f" Diverged before a check to audit: {empty} of the runs."
    absent = {} if any(f.method == TENSORFLOAT32 for f in findings) else {TENSORFLOAT32: NO_GPU}
    quantities = list(dict.fromkeys(finding.quantity for finding in findings))
    errors = _grid(findings, quantities, "error", tuple(METHODS), absent)
    ranked = [name for name in quantities if name.startswith(EIGENVALUE)]
    residuals = _grid(findings, ranked, "residual", tuple(METHODS), absent)
    return [
        heading,
        summary,
        "Relative error, median (worst):",
        errors,
        "Residual over operator norm, median (worst):",
        residuals,
    ]


def _grid(
    findings: Sequence[Finding],
    quantities: Sequence[str],
    measure: str,
    methods: Sequence[str],
    absent: Mapping[str, str],
) -> str:
    """Return a Markdown table: a row for each quantity, a column for each method."""
    lines = ["| | " + " | ".join(METHODS[method] for method in methods) + " |"]
    lines.append("| --- |" + " ---: |" * len(methods))
    for quantity in quantities:
        cells = []
        for method in methods:
            values = [
                getattr(finding, measure)
                for finding in findings
                if (finding.quantity, finding.method) == (quantity, method)
            ]
            cells.append(_cell(values) if values else absent.get(method, NOT_APPLICABLE))
        lines.append(f"| `{quantity}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    return f"{_short(np.median(values))} ({_short(np.max(values))})"


def _short(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.1e}"


def _check(values: Mapping) -> AuditedCheck:
    """Rebuild a check from JSON."""
    plain = _numbers(values)
    findings = tuple(Finding(**finding) for finding in plain.pop("findings"))
    return AuditedCheck(**plain, findings=findings)


def _spelled(value: object) -> object:
    """Return nested values with those numbers spelled that JSON does not know."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)


def _numbers(value: Any) -> Any:
    """Return nested values as :func:`_spelled` was given them, lists as tuples."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(map(_numbers, value))
    if value is None:
        return math.nan
    return float(value) if value in (str(math.inf), str(-math.inf)) else value
