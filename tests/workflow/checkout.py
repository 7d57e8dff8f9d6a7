"""A copy of the checkout in which tests run the workflow and its scripts, and read its plans."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

import preloaded

HERE = Path(__file__).parent
SOURCES = ("Snakefile", "config.yaml", "config", "envs", "profiles", "workflow")
TINY = "tiny.yaml"
#: An environment in which whatever imports JAX or what builds on it fails.
WITHOUT_JAX = {"PYTHONPATH": str(HERE / "without_jax")}
# Where scripts leave word of what they imported, if they are asked to.
RECORDING = HERE / "recording"
MODULES = "modules"
# What a person may have set that would make a run here differ from one elsewhere.
UNSET = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PLATFORMS",
    "PYTHONPATH",
    "SNAKEMAKE_PROFILE",
)
LONGEST = 900  # seconds that one command may take on a machine with other work


@dataclass(frozen=True)
class Plan:
    """What a dry run says it would do: how often each rule, and the message of every job."""

    counts: Mapping[str, int]
    messages: tuple[str, ...]

    @property
    def runs(self) -> set[tuple[str, ...]]:
        """The task, eta, rho and seed of every training job."""
        return set(self._groups(r"Train (\w+): eta (\S+), rho (\S+), seed (\d+)"))

    @property
    def figures(self) -> set[int]:
        """The numbers of the figures to draw."""
        return {int(number) for (number,) in self._groups(r"Draw figure (\d+)")}

    @property
    def prepared(self) -> set[str]:
        """The tasks whose data are to be prepared."""
        return {task for (task,) in self._groups(r"Prepare the data of (\w+)")}

    @property
    def collected(self) -> set[str]:
        """The tasks whose runs are to be merged."""
        return {task for (task,) in self._groups(r"Merge the runs of (\w+) into one cube")}

    def _groups(self, pattern: str) -> list[tuple[str, ...]]:
        found = (re.fullmatch(pattern, message) for message in self.messages)
        return [match.groups() for match in found if match]


NOTHING = Plan({}, ())


@dataclass(frozen=True)
class Checkout:
    """A copy of the checkout and how to run what is in it."""

    root: Path

    @classmethod
    def copy(cls, repository: Path, root: Path) -> "Checkout":
        """Copy what the workflow consists of, with the tests' own data sets in its registry."""
        root.mkdir(parents=True)
        without = shutil.ignore_patterns("__pycache__", ".*")
        for name in SOURCES:
            if (repository / name).is_dir():
                shutil.copytree(repository / name, root / name, ignore=without)
            else:
                shutil.copy2(repository / name, root / name)
        shutil.copy2(HERE / TINY, root / TINY)
        checkout = cls(root)
        shutil.copy2(HERE / "own_datasets.py", checkout.module("data/sets"))
        return checkout

    def clone(self, root: Path) -> "Checkout":
        """Copy everything: results, times of files, and Snakemake's records of how they came."""
        shutil.copytree(self.root, root)
        return Checkout(root)

    def result(self, name: str) -> Path:
        """Return the path of a file among the results of the tiny experiment."""
        return self.root / "results/tiny" / name

    def recording(self, folder: Path | None = None) -> dict[str, str]:
        """Return the environment in which scripts say what they imported, in a folder here."""
        folder = folder or self.root / MODULES
        folder.mkdir(exist_ok=True)
        return {"PYTHONPATH": str(RECORDING), "MODULES_RECORD": str(folder)}

    def module(self, name: str) -> Path:
        """Return the path of a file of the package."""
        return self.root / "workflow/scripts/samedge" / name

    def overlay(self, changes: Mapping) -> str:
        """Write a file of configuration with these changes, and return its name."""
        name = "changes.yaml"
        (self.root / name).write_text(yaml.safe_dump(changes), encoding="utf-8")
        return name

    def snakemake(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        """Run Snakemake on the tiny experiment and return how it ended, both outputs in one."""
        return self.bare_snakemake("--configfile", TINY, *arguments, **environment)

    def bare_snakemake(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        """Run Snakemake on the experiment that the arguments say, the default one if they do not.

        Settings of Python itself, and of the terminal's language, count when it starts, so that an
        environment with some of them gets an interpreter of its own.
        """
        if any(name.startswith(("PYTHON", "LC_")) for name in environment):
            return self.python("-m", "snakemake", *arguments, **environment)
        texts = [str(argument) for argument in arguments]
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "output"
            status = preloaded.run(
                texts, self.root, self._environment(environment), output, LONGEST
            )
            return subprocess.CompletedProcess(texts, status, output.read_text(encoding="utf-8"))

    def script(
        self, name: str, *arguments: object, **environment: str
    ) -> subprocess.CompletedProcess:
        """Run one of the workflow's scripts by hand."""
        return self.python(f"workflow/scripts/{name}.py", *arguments, **environment)

    def python(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        """Run the interpreter of these tests here."""
        process = self.start(*arguments, **environment)
        try:
            output, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def start(
        self, *arguments: object, start_new_session: bool = False, **environment: str
    ) -> subprocess.Popen:
        """Start the interpreter of these tests here, both outputs in one pipe."""
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=self.root,
            env=self._environment(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=start_new_session,
        )

    def _environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        """Return the environment in which something runs here."""
        inherited = {name: value for name, value in os.environ.items() if name not in UNSET}
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
        return inherited | {"PATH": path} | changes

    def training_processes(self) -> list[int]:
        """Return the ids of the training processes that run here."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                here = (folder / "cwd").resolve() == self.root.resolve()
            except OSError:  # it has ended
                continue
            if arguments[1:2] == [b"workflow/scripts/train_run.py"] and here:
                found.append(int(folder.name))
        return found

    def plan(
        self,
        *targets: str,
        configfiles: tuple[str, ...] = (TINY,),
        changes: Mapping | None = None,
        **environment: str,
    ) -> Plan:
        """Return what a dry run plans, of the tiny experiment with these changes, for targets."""
        if changes:
            configfiles = (*configfiles, self.overlay(changes))
        chosen = ("--configfile", *configfiles) if configfiles else ()
        done = self.bare_snakemake("--nocolor", "--dry-run", *targets, *chosen, **environment)
        assert done.returncode == 0, done.stdout
        return parse(done.stdout)


def parse(output: str) -> Plan:
    """Read the plan in the output of a dry run."""
    if "Nothing to be done" in output:
        return NOTHING
    table = output.split("Job stats:\n", 1)[1].split("\ntotal", 1)[0]
    counts = re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
    messages = re.findall(r"^Job \d+: (.*)$", output, re.MULTILINE)
    return Plan({rule: int(count) for rule, count in counts}, tuple(messages))
