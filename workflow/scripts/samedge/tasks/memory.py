"""How much memory a job will take, from its settings alone: what a cluster is asked for.

A scheduler wants to know before the job starts, so this must be told without JAX and without the
data. In numbers of the job's type (float32; float64 in an audit), a run holds at most

    parameters × (the solver's and the density's vectors + TRAINING + one for each ``audit.at``)
    + data × COPIES
    + examples at a time × activations of an example × PASSES

and beside them what every job takes. Several runs that train at once are measured one after the
other: each further one adds what it trains with and what its solver starts from next. The sizes of
models are those of :mod:`samedge.tasks.sizes`.
"""

import math

from samedge.config.settings import RunSettings
from samedge.curvature.limits import kept_vectors
from samedge.tasks.sizes import SIZES, Size

# Parameter vectors of a training step: the parameters, those perturbed, both gradients, the
# update, and a Hessian-vector product's direction and result, with one to spare.
TRAINING = 8
# Of runs that train at once, the parameters as their common program takes and returns them.
STACKED = 2
# What an update rule keeps of past gradients; one that is not known here, as Adam does.
STATES = {"sam": 0, "unnormalized_sam": 0, "asam": 0, "momentum": 1, "rmsprop": 1, "adam": 2}
# Where the curvature that meets the edge is not the Hessian's: what it is preconditioned by, the
# root of that, its scale and a product in between.
EFFECTIVE = 4
PLAIN = ("sam", "unnormalized_sam", "momentum")
# A datum is a number of the data file as read, one in NumPy's float type and one on the device.
COPIES = 3
# A Hessian-vector product keeps what the pass forward made, its derivative, and what comes back.
PASSES = 3
# Python, JAX and the programs it compiles, and Snakemake, which stands beside each job of a cluster
# twice.
PROCESS_MB = 2000
# What a job asks for at least, and what one does whose size cannot be told.
LEAST_MB, UNKNOWN_MB = 4000, 16000

MB = 10**6
EXAMPLES = {"mnist": (60_000, 10_000), "cifar10": (50_000, 10_000)}
PIXELS = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
CHARACTERS = {"tiny_shakespeare": 1_115_394}
CLASSES, VOCABULARY = 10, 128


def training_mb(run: RunSettings) -> int:
    """Return the megabytes (10⁶ bytes) to ask for to train and measure a run.

    A model whose size :mod:`samedge.tasks.sizes` does not know, or a data set whose size is not
    known here, makes it 16,000.
    """
    return together_mb(run, 1)


def together_mb(run: RunSettings, at_once: int) -> int:
    """Return the megabytes (10⁶ bytes) to ask for where so many runs train at once.

    ``run`` is any of them. A size that is not known counts as for one run, once for each.
    """
    # Solver and density do not work at the same time; what the solver starts from next stays.
    kept = kept_vectors(run.curvature.eigenvalues)
    density = kept + run.density.steps if run.density.at else 0
    stacked = STACKED if at_once > 1 else 0
    vectors = max(_of_the_solver(run), density) + (at_once - 1) * kept
    vectors += at_once * (TRAINING + stacked + len(run.audit.at) + _of_the_rule(run))
    return _megabytes(run, vectors, bytes_each=4, at_once=at_once)


def audit_mb(run: RunSettings) -> int:
    """Return the megabytes (10⁶ bytes) to ask for to audit a run, in float64."""
    return _megabytes(run, _of_the_solver(run) + TRAINING, bytes_each=8)


def _of_the_rule(run: RunSettings) -> int:
    """Return the parameter vectors that an update rule takes beside those of plain steps."""
    name = run.update.name
    effective = 0 if name in PLAIN else EFFECTIVE + kept_vectors(1)
    return STATES.get(name, max(STATES.values())) + effective


def _of_the_solver(run: RunSettings) -> int:
    """Return the parameter vectors that the solver holds at a time, its start among them.

    A check that was to be certified only if its ranks change then starts from what it has found,
    while the run still holds what the check before had left.
    """
    curvature = run.curvature
    starts = 2 if curvature.certify == 1 else 3
    kept = starts * kept_vectors(curvature.eigenvalues)
    # Beside the basis, its products and what is kept: residuals, the pairs as they are returned.
    working = 2 * curvature.eigenvalues + 4
    return 2 * curvature.max_vectors + kept + working


def _megabytes(run: RunSettings, vectors: int, bytes_each: int, at_once: int = 1) -> int:
    size, data, examples = _size(run), _data(run), _examples(run)
    if size is None or data is None or examples is None:
        return UNKNOWN_MB * at_once
    activations = at_once * examples * size.activations
    numbers = size.parameters * vectors + data * COPIES + activations * PASSES
    return max(LEAST_MB, PROCESS_MB + math.ceil(numbers * bytes_each / MB))


def _size(run: RunSettings) -> Size | None:
    """Return the size of the run's model, None where it cannot be told.

    Settings that do not fit the model are for the job to refuse, in words of its own.
    """
    shapes = {"images": PIXELS.get(run.dataset.name), "characters": ()}
    shape, closed_form = shapes.get(run.kind), dict(SIZES).get(run.model.name)
    if shape is None or closed_form is None:
        return None
    outputs = CLASSES if run.kind == "images" else VOCABULARY
    try:
        return closed_form(shape, outputs, **run.model.settings)
    except (TypeError, ValueError):
        return None


def _data(run: RunSettings) -> int | None:
    """Return how many numbers the data have, None where it cannot be told."""
    train, test = run.dataset.train_examples, run.dataset.test_examples
    if run.dataset.name in PIXELS:
        counts = zip((train, test), EXAMPLES[run.dataset.name], strict=True)
        return math.prod(PIXELS[run.dataset.name]) * sum(
            there if count is None else count for count, there in counts
        )
    if train is not None and test is not None:
        return train + test
    return CHARACTERS.get(run.dataset.name)


def _examples(run: RunSettings) -> int | None:
    """Return how many examples a gradient takes at a time, None where it cannot be told."""
    everything = EXAMPLES.get(run.dataset.name, (None,))[0]
    return run.microbatch or run.batch_size or run.dataset.train_examples or everything
