"""JAX on the device asked for, as every job that computes with it sets it up."""

import os

from samedge.errors import UserError


def prepare_jax(precision: str, device: str, double: bool = False) -> None:
    """Import JAX on the device asked for, with every source of drift switched off.

    Parameters
    ----------
    precision
        Of matrix products, see ``jax_default_matmul_precision``.
    device
        ``"auto"`` (what JAX finds), ``"cpu"`` or ``"gpu"``.
    double
        Whether arrays may be of 64 bits.

    Raises
    ------
    UserError
        If there is no such device.
    """
    # Deterministic reductions on GPUs: the same settings give the same numbers.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    if device != "auto":
        os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[device]

    import jax

    jax.config.update("jax_default_matmul_precision", precision)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_enable_x64", double)
    try:
        jax.devices()
    except RuntimeError as error:
        raise UserError(
            f"--device {device}: JAX finds none ({str(error).splitlines()[0]}); for a CPU set "
            "device: auto in the configuration, for a GPU install the CUDA environment"
        ) from error
