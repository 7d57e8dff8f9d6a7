"""Write the hash locks and the conda environments from the ``envs/*.in`` files.

Run by ``make lock``. The main lock is made first and constrains every other one, so a package
that two files share has one version in both. Versions already in a lock are kept unless
``--upgrade`` is given.

A conda environment takes Python and pip from conda-forge and everything else from the package
index: its pip part repeats the locks for the packages that kind of job needs.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ENVS = Path(__file__).resolve().parent

# Newest releases of conda-forge that are known to exist; pip also stands in build.in.
CONDA_PYTHON = "3.11.14"
CONDA_PIP = "25.3"

# Lock -> the requirements it is made from. The first one constrains the others.
LOCKS = {
    "requirements.txt": ["workflow.in", "read.in", "train.in", "figures.in", "develop.in"],
    "requirements-build.txt": ["build.in"],
    "requirements-data.txt": ["data.in"],
    "requirements-gpu.txt": ["train-gpu.in"],
}
MAIN, BUILD, *_ = LOCKS

# Conda environment -> the requirements it is made from, the locks it repeats, what it is for.
CONDA = {
    "data.yaml": ("data.in", "requirements-data.txt", "fetching and preparing data"),
    "train.yaml": ("train.in", MAIN, "training and measuring on the CPU"),
    "train-gpu.yaml": ("train-gpu.in", "requirements-gpu.txt", "training on an NVIDIA GPU"),
    "figures.yaml": ("figures.in", MAIN, "collecting runs and drawing figures"),
}


def compile_requirements(sources: list[str], *options: str) -> str:
    """Resolve requirement files for Python 3.11 on every platform; return the pinned list.

    Raises:
        subprocess.CalledProcessError: the requirements have no common solution (uv says why).
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet"]
    command += ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
    command += ["--no-emit-index-url", "--custom-compile-command", "make lock", *options]
    done = subprocess.run([*command, *sources], cwd=ENVS, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode()


def write_locks(upgrade: bool) -> None:
    """Write every ``requirements*.txt``, each requirement with the hashes of its files."""
    for lock, sources in LOCKS.items():
        options = ["--generate-hashes", "--annotation-style", "line", "--output-file", lock]
        if upgrade:
            options.append("--upgrade")
        # setuptools belongs to the build lock and to TensorFlow's requirements alike.
        constraints = {MAIN: [], BUILD: [MAIN]}.get(lock, [MAIN, BUILD])
        for constraint in constraints:
            options += ["--constraint", constraint]
        # The build lock alone holds pip and setuptools, which count as unsafe to pin otherwise.
        compile_requirements(sources, "--allow-unsafe", *options)


def write_conda(name: str) -> None:
    """Write one conda environment: Python and pip exact, the rest as the lock has it."""
    source, lock, purpose = CONDA[name]
    pins = compile_requirements(
        [source], "--no-header", "--no-annotate", "--constraint", lock, "--constraint", BUILD
    )
    lines = [
        f"# For {purpose}. Written by `make lock` from envs/{source}; do not edit.",
        f"# The pip part repeats envs/{lock}. The conda solve itself was not run.",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        f"  - python={CONDA_PYTHON}",
        f"  - pip={CONDA_PIP}",
        "  - pip:",
        *(f"      - {pin}" for pin in pins.splitlines()),
    ]
    (ENVS / name).write_text("\n".join(lines) + "\n")


def main() -> None:
    """Write all locks, then all conda environments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    arguments = parser.parse_args()
    write_locks(arguments.upgrade)
    for name in CONDA:
        write_conda(name)


if __name__ == "__main__":
    main()
