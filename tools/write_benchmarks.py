"""Write docs/benchmarks.md from what the benchmarks stored in benchmarks/results.

Run as ``python tools/write_benchmarks.py``. A test holds the committed file equal to what this
script writes.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from benchmarks import (
    checkpoints,
    checks,
    curvature,
    experiment,
    memory,
    minibatches,
    packing,
    scale,
    scaling,
    startup,
    stopping,
    training,
    traps,
    vectors,
)
from benchmarks.measuring import RESULTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

Results = Mapping[str, Any]

INTRODUCTION = """\
# Benchmarks

Everything here was measured by `make benchmark` (one part: `make benchmark ARGS=training`), and
this page is written by `python tools/write_benchmarks.py` from what that stored in
[benchmarks/results](../benchmarks/results). Both sides of a ratio took turns in one run; figures
are medians with the least and the most in brackets. The machine, with the versions of everything,
stands in each file: two cores, shared with others, so a second is not a figure to compare between
tables; a ratio is. What a GPU gave is in [gpu.md](gpu.md).

`make benchmark` works in an environment of its own. It needs `TFDS_DATA_DIR`, and hours for the
paper's sizes on a CPU.

## In short

{summary}
"""

STOPPING = """\
Solvers as their users meet them: each has the tolerance of 1e-3 of the operator norm that residuals
are to reach, its defaults otherwise, and stops by itself when it holds that it is done (SciPy's
`lobpcg` takes an absolute tolerance, and was told the operator norm). Cold ones start from random
vectors, warm ones from the eigenvectors of the check before. "residuals alone" is samedge with
`overlook=1`, the peers' criterion; elsewhere it goes on until it has overlooked a larger eigenvalue
with a probability of at most 1e-3, which no peer does. "over best" is the time over that of the
fastest peer, cold or warm, that was right in every round. "reached" is whether all three
eigenvalues were within 1e-3 of a float64 truth in every round: one that was not, or that takes
over five times the best one's products, was timed once.
"""

COMPARISON = """\
Time and products to the top three eigenpairs, at a relative accuracy of 1e-3 checked against
float64, beside peers on the same products (those of hessian-eigenthings are PyTorch's own). The
peers are tuned in their favour, with the truth at hand: "depth 20 (eigenvalues 1e-3)" is the least
at which Lanczos is right for every start, which nobody knows beforehand, and such a peer does not
say whether it is; those that "certify" stop by their residuals. So does samedge where it says
"residuals alone" (`overlook=1`); elsewhere it goes on until it has overlooked a larger eigenvalue
with a probability of at most 1e-3, which no peer does. SciPy's `lobpcg` is a block solver. "over
best peer" is the time over that of the fastest cold peer of the same round.

![Products and seconds of every solver](images/benchmark_curvature.png)
"""

ACCOUNT = """\
Both revisions in turns. "before" is revision {revision}, of which a check followed the ends of the
spectrum to the tolerance of the wanted pairs. Tables are of the round of median total.
"""


PACKING = """\
The runs of each task of `config.yaml`, whole: each in a job of its own, and all in one job, one
after the other or at once. The ratio is runs per hour over those of jobs of their own, in turns,
with programs compiled before; memory is the most that one process took.
"""

CHECKS = """\
The check that the workflow makes: warm, certified, both ends of the spectrum known. "before" is
revision {revisions}, which followed the ends to the tolerance of the wanted pairs. "not products"
is the share of the seconds that as many products one after the other do not take.
"""

VECTORS = """\
Certified top three and both ends, cold, where the solver keeps so many basis vectors. The peak is
of the whole process, and given in vectors of as many numbers as there are parameters too: beside
the basis and its products there are parameters, data, and what a product takes. "large" is a
Transformer of 100 million parameters as it is drawn, on one sequence.
"""

ENDS = """\
Random spectra of 300 with a lone eigenvalue planted beyond each end of the bulk: how often an end
lay beyond its bound, where the bounds may be crossed with that probability each, and how far bounds
were from the values found at most, as a share of the operator norm.
"""

SCALE = """\
One task of 41 checks a run, without densities. More than 1,000 runs are not drawn one by one, each
on a page of its own. "processor s" is the time of a process and of all that it starts, which other
work on the machine does not lengthen; "s" is the clock. Slopes are those of the last tenfold: 1 is
in proportion to the number of runs.
"""


def of_curvature(results: Results) -> str:
    """Return the comparison of solvers, a block for each row."""
    return "\n".join([COMPARISON, *(block(curvature.report(row)) for row in results.values())])


def of_stopping(results: Results) -> str:
    """Return the comparison with what stops by itself, a block for each row."""
    return "\n".join([STOPPING, *(block(stopping.report(row)) for row in results.values())])


def of_checks(results: Results) -> str:
    """Return a check before and now."""
    revisions = ", ".join(sorted({entry["revision_before"] for entry in results.values()}))
    return f"{CHECKS.format(revisions=revisions)}\n{block(checks.report(results))}"


def of_vectors(results: Results) -> str:
    """Return products and memory against the vectors kept."""
    tables = [f"{case}\n{vectors.report(entry['vectors'])}" for case, entry in results.items()]
    return f"{VECTORS}\n{block(chr(10).join(tables))}"


def of_traps(results: Results) -> str:
    """Return the traps, and the bounds of planted ends."""
    ends = traps.report_ends(results["ends"])
    return f"{block(traps.report(results['traps']))}\n{ENDS}\n{block(ends)}"


def of_training(results: Results) -> str:
    """Return the loop, the rate and the convolution."""
    return block("\n\n".join(training.report(entry, part) for part, entry in results.items()))


def of_checkpoints(results: Results) -> str:
    """Return checkpoints and looks."""
    return block("\n\n".join(checkpoints.report(entry, part) for part, entry in results.items()))


def of_scaling(results: Results) -> str:
    """Return the slopes and their picture."""
    caption = "Time of a step and of a check against their sizes, slopes in the titles"
    return f"{block(scaling.report(results))}\n![{caption}](images/benchmark_scaling.png)\n"


def of_experiment(results: Results) -> str:
    """Return the default experiment's account, a block for each revision."""
    account = ACCOUNT.format(revision=results["before"]["revision"])
    return "\n".join([account, *(block(experiment.report(*entry)) for entry in results.items())])


SECTIONS: Mapping[str, tuple[str, Callable[[Results], str]]] = {
    "stopping": ("The top of the spectrum, beside what stops by itself", of_stopping),
    "curvature": ("Beside peers that know the depth beforehand", of_curvature),
    "checks": ("A check of the workflow, before and now", of_checks),
    "vectors": ("Products against memory", of_vectors),
    "traps": ("Spectra made to fool a solver", of_traps),
    "training": ("Training", of_training),
    "checkpoints": ("What it costs to be able to go on", of_checkpoints),
    "minibatches": (
        "What minibatches and the way to the SAM point cost",
        lambda results: block(minibatches.report(results)),
    ),
    "scaling": ("How time grows", of_scaling),
    "startup": (
        "The first and the second job of a task",
        lambda results: block(startup.report(results)),
    ),
    "packing": (
        "All runs of a task in one job",
        lambda results: f"{PACKING}\n{block(packing.report(results))}",
    ),
    "experiment": ("The default experiment as a whole", of_experiment),
    "scale": (
        "Thousands of runs",
        lambda results: f"{SCALE}\n{block(scale.report(results))}",
    ),
    "memory": (
        "Memory of the paper's MNIST job, a check of six products",
        lambda results: block(memory.report(results["mnist"]["microbatches"])),
    ),
}


def page() -> str:
    """Return the page, with the parts that there are results of."""
    summary = (RESULTS / "summary.md").read_text(encoding="utf-8").rstrip()
    parts = [INTRODUCTION.format(summary=summary)]
    for name, (title, text) in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            results = json.loads(path.read_text(encoding="utf-8"))
            parts.append(f"## {title}\n\n{text(results)}")
    return "\n".join(parts)


def block(text: str) -> str:
    """Return text as a block of Markdown."""
    return f"```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
