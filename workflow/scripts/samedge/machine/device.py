"""JAX on the device asked for, as every job that computes with it sets it up."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from samedge.base.errors import UserError
from samedge.machine.gpus import take_device

PLATFORMS = "JAX_PLATFORMS"
#: Settings of JAX that decide numbers and are none of a run's, with the values that JAX has by
#: itself; a person's environment may have others.
PINNED = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_softmax_custom_jvp": False,
    "jax_use_direct_linearize": True,
    "jax_default_device": None,
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    # These end a run by an error where it would have ended as diverged.
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_numpy_rank_promotion": "allow",
}


def prepare_jax(
    precision: str,
    device: str,
    double: bool = False,
    jobs: int = 1,
    report: Callable[[str], None] = print,
) -> None:
    """Import JAX on the device asked for, with every source of drift switched off.

    Parameters
    ----------
    precision
        Of matrix products, see ``jax_default_matmul_precision``.
    device
        ``"auto"`` (what JAX finds), ``"cpu"`` or ``"gpu"``. But for a CPU, a GPU of this machine
        is taken until the process ends, see :func:`samedge.machine.gpus.take_device`.
    double
        Whether arrays may be of 64 bits.
    jobs
        How many jobs may share a GPU.
    report
        Called with a line about the GPU.

    Raises
    ------
    UserError
        If there is no such device.
    """
    # Deterministic reductions on GPUs: the same settings give the same numbers.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    if device != "auto":
        os.environ[PLATFORMS] = {"cpu": "cpu", "gpu": "cuda"}[device]
    if device != "cpu":
        take_device(jobs, report)

    import jax

    for name, value in PINNED.items():
        jax.config.update(name, value)
    jax.config.update("jax_default_matmul_precision", precision)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_enable_x64", double)
    try:
        jax.devices()
    # JAX 0.10 asserts that it has found a device where no driver is installed.
    except (RuntimeError, AssertionError) as error:
        reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
        remedy = "for a GPU install the CUDA environment (make environment GPU=1)"
        if device == "auto" and os.environ.get(PLATFORMS):
            raise UserError(
                f"{PLATFORMS}={os.environ[PLATFORMS]} in your environment asks for a device that "
                f"JAX does not find{reason}; unset it to take what there is, or {remedy}"
            ) from error
        raise UserError(
            f"--device {device}: JAX finds none{reason}; for a CPU set device: auto in the "
            f"configuration, {remedy}"
        ) from error


@contextmanager
def explain_out_of_memory(remedy: str) -> Iterator[None]:
    """Turn JAX's error about memory into one that says what to change.

    Raises
    ------
    UserError
        With ``remedy``, where the device has not the memory asked for.
    """
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        # On a CPU an allocation that fails while a program runs is an INTERNAL error.
        if not any(mark in str(error) for mark in ("RESOURCE_EXHAUSTED", "Out of memory")):
            raise
        raise UserError(f"out of memory ({str(error).splitlines()[0]}): {remedy}") from error
