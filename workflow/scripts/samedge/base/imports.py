"""Which modules of this package decide a run's numbers or its file.

They are inputs of the training rule, so that editing one trains again, and part of what a
checkpoint belongs to, so that no run goes on with other sources than it began with. What only
reads the command line or words an error is left out, and so is what a job does not import.
"""

import hashlib
from pathlib import Path

RUN_MODULES = (
    "base/files",
    "curvature/arguments",
    "curvature/density",
    "curvature/eigenpairs",
    "curvature/krylov/basis",
    "curvature/krylov/certificate",
    "curvature/krylov/quadrature",
    "curvature/limits",
    "curvature/microbatches",
    "curvature/products",
    "curvature/scaling",
    "curvature/tracing",
    "data/file",
    "machine/device",
    "machine/provenance",
    "records/files",
    "records/parameters",
    "records/schema",
    "tasks/inputs",
    "tasks/losses",
    "tasks/model",
    "tasks/models/flax_networks",
    "tasks/models/haiku_transformer",
    "tasks/probing",
    "tasks/problems",
    "training/checkpoints",
    "training/loop",
    "training/observers",
    "training/run",
    "training/schedule",
    "training/steps",
    "updates/edges",
    "updates/rule",
)


def modules_of(together: bool, parameters: bool) -> list[str]:
    """Return those of a job: of several runs or one, that keeps parameters or not."""
    unused = {"training/loop": not together, "records/parameters": not parameters}
    return [name for name in RUN_MODULES if not unused.get(name, False)]


def sources_digest(together: bool, parameters: bool) -> str:
    """Return the SHA-256 (hexadecimal) over the sources of a job's modules."""
    digest = hashlib.sha256()
    for name in modules_of(together, parameters):
        digest.update((Path(__file__).parents[1] / f"{name}.py").read_bytes())
    return digest.hexdigest()
