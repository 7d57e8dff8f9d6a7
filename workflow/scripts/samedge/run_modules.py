"""Which modules of this package decide a run's numbers or its file.

They are inputs of the training rule, so that editing one trains again, and part of what a
checkpoint belongs to, so that no run goes on with other sources than it began with. What only
reads the command line or words an error is left out, and so is what a job does not import.
"""

import hashlib
from pathlib import Path

RUN_MODULES = (
    "arguments",
    "basis",
    "batching",
    "certificate",
    "checkpoint",
    "datasets",
    "density",
    "device",
    "edge",
    "files",
    "flax_networks",
    "haiku_transformer",
    "hessian",
    "losses",
    "models",
    "observers",
    "parameters",
    "probing",
    "problems",
    "products",
    "provenance",
    "quadrature",
    "records",
    "sam",
    "scaling",
    "schedule",
    "steps",
    "together",
    "tracing",
    "training",
    "variables",
)


def modules_of(together: bool, parameters: bool) -> list[str]:
    """Return those of a job: of several runs or one, that keeps parameters or not."""
    unused = {"together": not together, "parameters": not parameters}
    return [name for name in RUN_MODULES if not unused.get(name, False)]


def sources_digest(together: bool, parameters: bool) -> str:
    """Return the SHA-256 (hexadecimal) over the sources of a job's modules."""
    digest = hashlib.sha256()
    for name in modules_of(together, parameters):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()
