"""One side of :mod:`benchmarks.checks`: measures a row with the revision whose folder it runs in.

It is run by path, with that revision's packages to import; so it uses nothing but what both
revisions have. Lines of JSON answer lines of input, one check each.
"""

import json
import sys
import time

from samedge.machine.device import prepare_jax

prepare_jax("highest", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402

from benchmarks.problems import load_point, truth  # noqa: E402
from samedge.curvature.eigenpairs import top_eigenpairs  # noqa: E402
from samedge.curvature.products import hessian_map  # noqa: E402

PRODUCTS = 5  # timed at a time


def main() -> None:
    """Answer until the input ends."""
    name = sys.argv[1]
    point = load_point(name, report=lambda line: None)
    true = truth(name, point, report=lambda line: None)
    linear = jax.jit(lambda p, d: hessian_map(point.loss, p, d, point.microbatch))
    flat, unravel = ravel_pytree(point.params)
    product = jax.jit(lambda h, v: ravel_pytree(h(unravel(v)))[0])
    hessian, vector = linear(point.params, point.data), flat / np.linalg.norm(flat)

    def check(params, data, seed, start=None):
        return top_eigenpairs(
            point.loss,
            params,
            data,
            len(true),
            key=jax.random.key(seed),
            microbatch=point.microbatch,
            start=start,
            pure=True,
        )

    previous = check(point.previous_params, point.previous_data, 100)
    for line in sys.stdin:
        seed = int(line)
        begun = time.perf_counter()
        top = check(point.params, point.data, seed, previous)
        jax.block_until_ready(top.ritz_vectors)
        seconds = time.perf_counter() - begun
        jax.block_until_ready(product(hessian, vector))
        begun = time.perf_counter()
        for _ in range(PRODUCTS):
            jax.block_until_ready(product(hessian, vector))
        answer = {
            "seconds": seconds,
            "products": top.hvp_count,
            "product_seconds": (time.perf_counter() - begun) / PRODUCTS,
            "error": float(np.max(np.abs(top.values - true) / np.abs(true))),
            "converged": bool(top.converged.all()),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
