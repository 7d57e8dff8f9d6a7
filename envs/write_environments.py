"""Write the hash locks and the conda environments from the ``envs/*.in`` files.

Run by ``make lock``. The main lock is made first and constrains every other one, so a package
that two files share has one version in both. Versions already in a lock are kept unless
``--upgrade`` is given.

A conda environment takes Python and pip from conda-forge and everything else from the package
index: its pip part repeats the locks for the packages that kind of job needs.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ENVS = Path(__file__).resolve().parent

# Newest releases of conda-forge that are known to exist; pip also stands in build.in.
CONDA_PYTHON = "3.11.14"
CONDA_PIP = "25.3"

# Lock -> the requirements it is made from. The first one constrains the others.
LOCKS = {
    "requirements.txt": [
        "workflow.in",
        "cluster.in",
        "read.in",
        "train.in",
        "figures.in",
        "develop.in",
    ],
    "requirements-build.txt": ["build.in"],
    "requirements-data.txt": ["data.in"],
    "requirements-gpu.txt": ["train-gpu.in"],
    "requirements-torch.txt": ["torch.in"],
    "requirements-benchmark.txt": ["benchmark.in"],
    "requirements-remote.txt": ["remote.in"],
    "requirements-googlebatch.txt": ["googlebatch.in"],
}
MAIN, BUILD, DATA, _, TORCH, BENCHMARK, REMOTE, GOOGLEBATCH = LOCKS
# Packages of which a lock has a version of its own: what it holds wants one older than the main
# lock's. A test holds that there are no others.
HELD_BACK = {REMOTE: ["python-dateutil"], GOOGLEBATCH: ["protobuf"]}

# The benchmarks need PyTorch in one of two builds, each with its lock. The index does not hold the
# build without CUDA for Linux on x86-64, so its hash stands here.
TORCH_CPU = "requirements-torch-cpu.txt"
CPU_BUILD = "2.13.0+cpu", "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
BUILD_DEPENDENT = re.compile(r"^(torch|triton|(?:cuda|nvidia)-[a-z0-9-]+)==", re.MULTILINE)

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


def without(lock: str, names: Sequence[str]) -> str:
    """Return the text of a lock without some of its packages."""
    for name in names:
        lock = re.sub(rf"^{name}==.*\n(?:[ #].*\n)*", "", lock, flags=re.MULTILINE)
    return lock


def write_locks(upgrade: bool) -> None:
    """Write every ``requirements*.txt``, each requirement with the hashes of its files."""
    for lock, sources in LOCKS.items():
        options = ["--generate-hashes", "--annotation-style", "line", "--output-file", lock]
        if upgrade:
            options.append("--upgrade")
        # setuptools belongs to the build lock and to TensorFlow's requirements alike.
        constraints = {MAIN: [], BUILD: [MAIN]}.get(lock, [MAIN, BUILD])
        if lock == GOOGLEBATCH:
            constraints = [*constraints, DATA]
        if lock == BENCHMARK:
            constraints = [*constraints, TORCH]
            for name in BUILD_DEPENDENT.findall((ENVS / TORCH).read_text()):
                options += ["--no-emit-package", name]
        with tempfile.TemporaryDirectory() as folder:
            for constraint in constraints:
                path = Path(folder) / constraint
                path.write_text(without((ENVS / constraint).read_text(), HELD_BACK.get(lock, [])))
                options += ["--constraint", str(path)]
            # The build lock alone holds pip and setuptools, which count as unsafe to pin otherwise.
            compile_requirements(sources, "--allow-unsafe", *options)
            written = (ENVS / lock).read_text()
            (ENVS / lock).write_text(written.replace(f"{folder}/", ""))
    version, digest = CPU_BUILD
    head = "# PyTorch without CUDA; the rest of what it needs is in requirements-benchmark.txt.\n"
    (ENVS / TORCH_CPU).write_text(f"{head}torch=={version} \\\n    --hash=sha256:{digest}\n")


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
