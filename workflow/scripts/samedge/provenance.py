"""Where a result comes from: commit, package versions, device, data."""

import importlib.metadata
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from samedge.datasets import TaskData

PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy", "xarray", "netCDF4")


def provenance(data: "TaskData") -> dict[str, object]:
    """Return the global attributes that every run file carries besides its settings."""
    device = jax.devices()[0]
    return {
        "git_commit": git_commit(),
        "package_versions": json.dumps(
            {name: importlib.metadata.version(name) for name in PACKAGES}
        ),
        "device": device.device_kind,
        "matmul_precision": jax.config.jax_default_matmul_precision,
        "data_source": data.attributes["source"],
        "data_description": data.attributes["description"],
        "data_stand_in": data.attributes["stand_in"],
        "data_checksum": data.checksum,
    }


def git_commit() -> str:
    """Return the commit of the checkout this package lies in, ``-dirty`` if changed since."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--match="],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
