"""Where a result comes from: commit, package versions, device, data."""

import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import jax

from samedge.base.components import plugin_checksums
from samedge.machine.device import PINNED

UNKNOWN = "unknown"
_PACKAGE = Path(__file__).resolve().parents[1]
#: The checkout that this package lies in; None where it is installed elsewhere.
CHECKOUT = _PACKAGE.parents[2] if _PACKAGE.match("workflow/scripts/samedge") else None
LOCK = CHECKOUT and CHECKOUT / "envs" / "requirements.txt"
PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy", "xarray", "netCDF4")

# Variables that may decide numbers: of JAX those that are not pinned, nor set by every job.
_SET_BY_JOBS = {"jax_default_matmul_precision", "jax_numpy_dtype_promotion", "jax_enable_x64"}
_OTHER_VARIABLES = ("NVIDIA_TF32_OVERRIDE",)
# What JAX keeps, shows, or runs on: the device has an attribute of its own.
_NO_NUMBERS = re.compile(
    "JAX_(PLATFORM|.*_VISIBLE_DEVICES|.*CACHE|.*LOG|.*TRACEBACK|.*DUMP|PPRINT|CHECK|.*GUARD)"
)
_NO_NUMBERS_FLAGS = ("--xla_dump_", "--xla_gpu_cuda_data_dir")
# What makes git look at another repository than the one it is called in, as in a hook.
_GIT_ELSEWHERE = {"GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"}


class DataFile(Protocol):
    """What is told of a data file, see :class:`samedge.data.file.TaskData`."""

    @property
    def attributes(self) -> Mapping[str, str | bool | int]:
        """Return what the file says of itself: source, description and stand_in among others."""

    @property
    def checksum(self) -> str:
        """Return the SHA-256 (hexadecimal) over the file's arrays and attributes."""


def provenance(data: DataFile) -> dict[str, object]:
    """Return the global attributes that every run file carries besides its settings."""
    device = jax.devices()[0]
    versions = dict(_installed())
    return {
        "git_commit": git_commit(),
        "package_versions": json.dumps(versions),
        "unlocked_packages": unlocked(versions),
        "device": device.device_kind,
        "matmul_precision": jax.config.jax_default_matmul_precision,  # type: ignore[attr-defined]
        "jax_settings": jax_settings(),
        "plugins": json.dumps(plugin_checksums(), sort_keys=True),
        "data_source": data.attributes["source"],
        "data_description": data.attributes["description"],
        "data_stand_in": data.attributes["stand_in"],
        "data_checksum": data.checksum,
    }


def _installed() -> Iterator[tuple[str, str]]:
    """Yield the versions of the packages that numbers depend on, of those that are there."""
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def jax_settings() -> str:
    """Return what else decides numbers, as JSON: settings of JAX, and flags of its compiler.

    Those that :func:`samedge.machine.device.prepare_jax` pins are there with their values, the
    others where the environment sets them.
    """
    left_out = {name.upper() for name in (*PINNED, *_SET_BY_JOBS)}
    set_here = {
        name: value
        for name, value in os.environ.items()
        if name in _OTHER_VARIABLES
        or (name.startswith("JAX_") and name not in left_out and not _NO_NUMBERS.match(name))
    }
    # Of a flag given twice the last one counts.
    flags = {flag.partition("=")[0]: flag for flag in os.environ.get("XLA_FLAGS", "").split()}
    kept = [flag for flag in flags.values() if not flag.startswith(_NO_NUMBERS_FLAGS)]
    pinned = {name: jax.config.values[name] for name in PINNED}
    return json.dumps(pinned | set_here | {"XLA_FLAGS": " ".join(sorted(kept))}, sort_keys=True)


def unlocked(versions: Mapping[str, str], lock: Path | None = LOCK) -> str:
    """Name the packages of another version than the lock's, "" if there is none.

    Without a lock nothing is known of them, and that is what is returned.
    """
    if lock is None or not lock.is_file():
        return f"{UNKNOWN} (no lock found)"
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
    """Return the commit of the checkout this package lies in, ``-dirty`` if changed since.

    It is "unknown" where the package is installed, or was unpacked inside a repository of somebody
    else's, whose commits say nothing of it.
    """
    if CHECKOUT is None:
        return UNKNOWN
    try:
        if Path(_git("rev-parse", "--show-toplevel")) != CHECKOUT:
            return UNKNOWN
        _git("ls-files", "--error-unmatch", __file__)
        return _git("describe", "--always", "--abbrev=40", "--dirty", "--match=")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=_PACKAGE,
        env={name: value for name, value in os.environ.items() if name not in _GIT_ELSEWHERE},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
