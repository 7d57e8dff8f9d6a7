"""Which modules of this package decide a run's numbers or its file.

They are inputs of the training rule, so that editing one trains again, and part of what a
checkpoint belongs to, so that no run goes on with other sources than it began with. What only
reads the command line or words an error is left out.
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


def sources_digest() -> str:
    """Return the SHA-256 (hexadecimal) over the sources of these modules."""
    digest = hashlib.sha256()
    for name in RUN_MODULES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()
