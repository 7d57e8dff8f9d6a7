"""Where a result comes from: commit, package versions, device, data."""

import importlib.metadata
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from samedge.datasets import TaskData

LOCK = Path(__file__).parents[3] / "envs" / "requirements.txt"
PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy", "xarray", "netCDF4")


def provenance(data: "TaskData") -> dict[str, object]:
    """Return the global attributes that every run file carries besides its settings."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "git_commit": git_commit(),
        "package_versions": json.dumps(versions),
        "unlocked_packages": unlocked(versions),
        "device": device.device_kind,
        "matmul_precision": jax.config.jax_default_matmul_precision,
        "data_source": data.attributes["source"],
        "data_description": data.attributes["description"],
        "data_stand_in": data.attributes["stand_in"],
        "data_checksum": data.checksum,
    }


def unlocked(versions: Mapping[str, str], lock: Path = LOCK) -> str:
    """Name the packages of another version than the lock's, "" if there is none or no lock."""
    if not lock.is_file():
        return ""
    pins = dict(
        re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    )
    by_name = {_canonical(name): version for name, version in pins.items()}
    return ", ".join(
        f"{name} {version} (lock: {by_name.get(_canonical(name), 'none')})"
        for name, version in versions.items()
        # A local label, as in 2.0+cpu, names a build of the same version.
        if version.partition("+")[0] != by_name.get(_canonical(name))
    )


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


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
