"""Peak memory of a training job of the paper's MNIST experiment, with microbatches and without.

    python -m benchmarks.memory --microbatches none 6000 1000

The job is a process, as the workflow starts it, on all 60,000 images at width 1,000, cut down to
one step and two checks of a few Hessian-vector products, which allocate what a whole run does.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import jobs, measuring
from samedge.base.errors import run_script

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
PRODUCTS = 6  # per check


def measure(microbatches: Sequence[int | None]) -> dict[str, Any]:
    """Run one job for each size of microbatch and return its peak memory and its seconds."""
    paper = jobs.settings_of("mnist", "0.1", "0.1", jobs.PAPER)
    run = jobs.hardly_measured(jobs.steps_only(paper, 1), PRODUCTS)
    found = {}
    with jobs.data_file(run) as data:
        for microbatch in microbatches:
            job = jobs.run_job(replace(run, microbatch=microbatch), data)
            found[_name(microbatch)] = {
                "peak_gib": job.peak_memory / 2**30,
                "seconds": job.seconds,
            }
            print(f"microbatch {_name(microbatch)}: {job.peak_memory / 2**30:.2f} GiB", flush=True)
    return found


def report(found: Mapping[str, Any]) -> str:
    """Lay out the results as text."""
    rows = [("microbatch", "peak memory (GiB)", "seconds of the job")]
    rows += [
        (name, f"{job['peak_gib']:.2f}", f"{job['seconds']:.0f}") for name, job in found.items()
    ]
    return measuring.table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--microbatches",
        nargs="+",
        type=_microbatch,
        default=[None, 6000, 1000],
        help="examples of a piece; 'none' for all 60,000 at once",
    )
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "memory.json")
    arguments = parser.parse_args(argv)
    found = measure(arguments.microbatches)
    print(report(found), flush=True)
    entry = {"products_per_check": PRODUCTS, "microbatches": found}
    entry["machine"] = measuring.machine(PACKAGES)
    measuring.merge_results(arguments.output, {"mnist": entry})


def _microbatch(text: str) -> int | None:
    return None if text == "none" else int(text)


def _name(microbatch: int | None) -> str:
    return "none" if microbatch is None else f"{microbatch:,}"


if __name__ == "__main__":
    run_script(main)
