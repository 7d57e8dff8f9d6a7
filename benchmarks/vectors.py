"""Products and peak memory of the certified top three, against the basis vectors that are kept.

    python -m benchmarks.vectors --cases mnist --vectors 8 12 20 40
    python -m benchmarks.vectors --cases large --vectors 8

Each measurement is a process of its own, so that its peak memory is its own. ``mnist`` is a row of
:mod:`benchmarks.problems`, cold; ``large`` a Transformer of 100 million parameters as it is drawn,
on one sequence of Shakespeare.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measuring
from samedge.base.errors import run_script
from samedge.machine.device import prepare_jax

PACKAGES = ("jax", "jaxlib", "dm-haiku", "numpy")
VECTORS = {"mnist": (8, 12, 20, 40), "large": (8, 12, 20, 40)}
ROW = "mnist_sam_1000"
LARGE = {
    "layers": 14,
    "heads": 12,
    "key_size": 64,
    "model_size": 768,
    "sequence_length": 64,
    "widening_factor": 4,
}
MOST_PRODUCTS = 600
PAIRS = 3


def measure(case: str, vectors: int) -> dict[str, Any]:
    """Measure one case with so many vectors; in a process of its own."""
    prepare_jax("highest", "cpu")
    # JAX is imported only now that its device is chosen.
    import jax
    from jax.flatten_util import ravel_pytree

    from samedge.curvature.eigenpairs import top_eigenpairs

    loss, params, data = _large() if case == "large" else _row()
    size = ravel_pytree(params)[0].size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = [time.perf_counter()]
    top = top_eigenpairs(
        loss,
        params,
        data,
        PAIRS,
        key=jax.random.key(0),
        max_products=MOST_PRODUCTS,
        max_vectors=vectors,
        pure=True,
        pause=lambda: times.append(time.perf_counter()),
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "parameters": size,
        "products": top.hvp_count,
        "seconds": time.perf_counter() - times[0],
        "peak_gib": peak / 2**20,
        "before_gib": before / 2**20,
        "vectors_in_peak": peak * 1024 / (4 * size),
        "converged": bool(top.converged.all()),
        "overlooked": top.overlooked,
        "eigenvalues": top.values.tolist(),
        "residuals": (top.residuals / abs(top.values[0])).tolist(),
        "ends": [top.smallest_bound, top.smallest, top.largest, top.largest_bound],
    }


def _row() -> tuple[Any, Any, tuple[Any, ...]]:
    from benchmarks.problems import load_point

    point = load_point(ROW)
    return point.loss, point.params, point.data


def _large() -> tuple[Any, Any, tuple[Any, ...]]:
    from dataclasses import replace

    import jax

    from benchmarks import jobs
    from samedge.tasks.problems import build_problem

    settings = jobs.settings_of("tiny_shakespeare", "0.1", "0.1")
    model = replace(settings.model, settings=LARGE)
    settings = replace(settings, model=model, batch_size=1)
    problem = build_problem(settings, jobs.data_of(settings))
    params = jax.jit(problem.init)(jax.random.key(0))
    return problem.loss, params, tuple(x[:1] for x in problem.train)


def report(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out the results of one case as text."""
    head = ("vectors kept", "products", "seconds", "peak memory (GiB)", "in vectors", "converged")
    rows = [
        (
            vectors,
            str(entry["products"]),
            f"{entry['seconds']:.0f}",
            f"{entry['peak_gib']:.2f}",
            f"{entry['vectors_in_peak']:.0f}",
            "yes" if entry["converged"] else "no",
        )
        for vectors, entry in found.items()
    ]
    return measuring.table([head, *rows])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(VECTORS), default=list(VECTORS))
    parser.add_argument("--vectors", nargs="+", type=int, help="all of a case's unless given")
    parser.add_argument("--alone", action="store_true", help="in this process; print JSON")
    parser.add_argument("--output", type=Path, default=measuring.RESULTS / "vectors.json")
    arguments = parser.parse_args(argv)
    if arguments.alone:
        print(json.dumps(measure(arguments.cases[0], arguments.vectors[0])))
        return
    for case in arguments.cases:
        found = measuring.read_results(arguments.output).get(case, {}).get("vectors", {})
        for vectors in arguments.vectors or VECTORS[case]:
            command = [sys.executable, "-m", "benchmarks.vectors", "--alone"]
            command += ["--cases", case, "--vectors", str(vectors)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[str(vectors)] = json.loads(done.stdout.splitlines()[-1])
            found = dict(sorted(found.items(), key=lambda item: int(item[0])))
            entry = {"vectors": found, "machine": measuring.machine(PACKAGES)}
            measuring.merge_results(arguments.output, {case: entry})
        print(f"{case}\n{report(found)}", flush=True)


if __name__ == "__main__":
    run_script(main)
