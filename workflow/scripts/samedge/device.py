"""JAX on the device asked for, as every job that computes with it sets it up."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from samedge.errors import UserError
from samedge.gpus import take_device


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
        is taken until the process ends, see :func:`samedge.gpus.take_device`.
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
        os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[device]
    if device != "cpu":
        take_device(jobs, report)

    import jax

    jax.config.update("jax_default_matmul_precision", precision)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_enable_x64", double)
    try:
        jax.devices()
    # JAX 0.10 asserts that it has found a device where no driver is installed.
    except (RuntimeError, AssertionError) as error:
        reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise UserError(
            f"--device {device}: JAX finds none{reason}; for a CPU set device: auto in the "
            "configuration, for a GPU install the CUDA environment (make environment GPU=1)"
        ) from error


@contextmanager
def named_memory(remedy: str) -> Iterator[None]:
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
