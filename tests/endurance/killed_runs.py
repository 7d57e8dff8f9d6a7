"""Training runs that are killed, at moments of many kinds, until they end.

A signal counts as one in the midst of a measurement by what the job had printed when it came and
what it printed afterwards, not by what was aimed at.
"""

import os
import random
import re
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr
import yaml

from checkout import TINY, Checkout
from samedge.records import files

TIMES = ["training_time", "wall_time"]
# More steps, checks and products than the tiny experiment has, so that there is something to kill.
LONGER = {
    "curvature": {"tolerance": 1.0e-5, "max_products": 200},
    "density": {"at": [0, 0.5, 1], "probes": 5, "steps": 60},
    "tasks": {
        "mnist": {"budget": {"steps": 400}, "checks": {"count": 9}},
        "cifar10": {"budget": {"steps": 60}, "checks": {"count": 7}},
        "tiny_shakespeare": {"budget": {"steps": 120}, "checks": {"spacing": "even", "count": 7}},
    },
}
# The learning rate and the radius of the run of each task.
JOBS = {"mnist": ("0.1", "0.1"), "cifar10": ("0.003", "0.1"), "tiny_shakespeare": ("0.1", "0.3")}
CHECKPOINT_STEPS = 7
MOST_KILLS = 9  # of one run
LONGEST = 600.0  # seconds that a process may take
# Seconds from a signal to the line that says it was noticed, at most. On a machine with other work
# a job has only a part of each: there its processor time from the signal to its end counts.
SOONEST = 5.0
STARVED = 60.0  # seconds by the clock, whatever other work there is
MEASURED = 3  # one of so many kills, at least, is a signal in a measurement
SIGNALS = (signal.SIGTERM, signal.SIGINT)
NOTICED = "interrupted by"


@dataclass(frozen=True)
class Trained:
    """The files that a training job writes."""

    run: Path
    parameters: Path
    checkpoints: Path

    @classmethod
    def under(cls, folder: Path) -> "Trained":
        """Return the files of a job that writes to a folder."""
        return cls(folder / "run.nc", folder / "parameters.nc", folder / "checkpoints")

    def differences(self, other: "Trained") -> Iterator[str]:
        """Yield what the two jobs' outputs differ in, but for times."""
        runs = [files.read_run(job.run).drop_vars(TIMES) for job in (self, other)]
        try:
            xr.testing.assert_identical(*runs)
        except AssertionError as error:
            yield str(error)
        if self.parameters.read_bytes() != other.parameters.read_bytes():
            yield f"{self.parameters} differs from {other.parameters}"
        yield from (f"{path} is left" for path in self.run.parent.iterdir() if path.suffix != ".nc")


class Life:
    """A process that trains a run, its output read line by line as it comes."""

    def __init__(self, process: subprocess.Popen, job: Trained, checks: Mapping[str, bool]) -> None:
        self.process, self.job = process, job
        self.checks = checks
        self.lines: list[str] = []
        self.noticed: float | None = None  # when the line about a signal came
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            if NOTICED in line:
                self.noticed = time.monotonic()

    def finish(self) -> tuple[int, str]:
        """Wait for its end; return exit code and output."""
        self.process.wait(LONGEST)
        self._reader.join(LONGEST)
        self.process.stdout.close()
        return self.process.returncode, "".join(self.lines)

    def outlasts(self, seconds: float) -> bool:
        """Wait so long; tell whether the process still runs."""
        time.sleep(seconds)
        return self.process.poll() is None

    def sees(self, found: Callable[[], object], pause: float = 0.002) -> bool:
        """Wait until something is found; tell whether it was while the process ran."""
        while self.process.poll() is None:
            if found():
                return True
            time.sleep(pause)
        return False


def landed(before: str, output: str, checks: Mapping[str, bool]) -> str:
    """Return in the midst of what a signal came that has ended a job.

    ``before`` is what had been printed when it was sent; ``checks`` are the steps of checks, and
    whether they estimate a density.
    """
    ended = re.search(rf"^step (\d+)\S*  {NOTICED}", output, re.MULTILINE)
    if ended is None or ended[1] not in checks:
        return "in training"
    step = ended[1]
    if re.search(rf"^step {step}\S*  loss", before, re.MULTILINE):
        estimating = checks[step] and f"step {step}  density" not in output
        return "in a density" if estimating else "in training"
    return "in the solver" if f"checkpoint at step {step}:" in before else "in training"


@dataclass
class Tally:
    """How often runs were killed in which way, and how long each signal took (s).

    ``noticed`` are the seconds until a run has said so, ``ended`` until its process was gone, and
    ``worked`` its processor time in between.
    """

    ways: Counter = field(default_factory=Counter)
    noticed: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    worked: list[float] = field(default_factory=list)

    def wants(self, kills: int) -> bool:
        """Tell whether there are to be more, or more of them in measurements."""
        return self.ways.total() < kills or MEASURED * self.measured() < kills

    def measured(self) -> int:
        """Return how many were signals in the midst of a measurement."""
        return sum(self.ways[f"signal in {what}"] for what in ("the solver", "a density"))

    def next_way(self, chance: random.Random) -> str:
        """Return in which way to kill next: in a measurement as long as those are too few."""
        if MEASURED * self.measured() <= self.ways.total():
            return chance.choice(["signal in a density", "signal in the solver"])
        return chance.choice([way for way in MOMENTS if way not in MEASUREMENTS])


def kill_runs(checkout: Checkout, kills: int, seed: int, say: Callable[[str], None]) -> Counter:
    """Kill training jobs of the three tasks so often, in turns; return how often in which way.

    ``checkout`` must hold the data of the tiny experiment.

    Raises
    ------
    AssertionError
        If a job ends with anything but what it comes to undisturbed, or not within seconds of a
        signal.
    """
    chance, tally = random.Random(seed), Tally()
    (checkout.root / "longer.yaml").write_text(yaml.safe_dump(LONGER), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        references: dict[str, Trained] = {}
        checks: dict[str, dict[str, bool]] = {}
        number = 0
        while tally.wants(kills):
            for task in JOBS:
                number += 1
                if task not in references:  # few kills may not get to every task
                    reference = Trained.under(Path(folder) / task / "reference")
                    life = _start(checkout, task, reference, {}, "--checkpoint-minutes", "0")
                    code, output = life.finish()
                    assert code == 0, output
                    references[task] = reference
                    checks[task] = _checks(reference.run)
                    say(f"{task}: undisturbed, {len(checks[task])} checks")
                job = Trained.under(Path(folder) / task / f"run{number}")
                ways = _kill_until_done(checkout, task, job, checks[task], tally, chance)
                differences = list(job.differences(references[task]))
                assert not differences, "\n".join(differences)
                say(f"{task}: killed by {', '.join(ways) or 'nothing'}; the same to the bit")
                if not tally.wants(kills):
                    break
    for what in ("noticed", "ended", "worked"):
        seconds = sorted(getattr(tally, what))
        listed = ", ".join(f"{longest:.2f}" for longest in seconds[-3:])
        within = sum(second <= SOONEST for second in seconds)
        say(f"{what}: {listed} s at most, {within} of {len(seconds)} within {SOONEST:g} s")
    return tally.ways


def _checks(run: Path) -> dict[str, bool]:
    """Return the steps of a run's checks, as text, and whether each has a density."""
    run = files.read_run(run)
    densities = {*run["density_step"].values.flat}
    return {str(int(step)): step in densities for step in run["step"].values.flat}


def _kill_until_done(
    checkout: Checkout,
    task: str,
    job: Trained,
    checks: Mapping[str, bool],
    tally: Tally,
    chance: random.Random,
) -> list[str]:
    """Kill a run again and again and let it end at last; return the ways it was killed."""
    ways: list[str] = []
    while True:
        way = tally.next_way(chance) if len(ways) < MOST_KILLS else None
        steps = 1 if way in MEASUREMENTS else CHECKPOINT_STEPS
        life = _start(checkout, task, job, checks, "--checkpoint-steps", str(steps))
        if way is not None and MOMENTS[way](life, chance):
            number = chance.choice(SIGNALS) if way.startswith("signal") else signal.SIGKILL
            before, sent = "".join(life.lines), time.monotonic()
            used = _used_by_children() + _used_by(life.process.pid)
            life.process.send_signal(number)
            life.process.wait(LONGEST)
            seconds = time.monotonic() - sent
            code, output = life.finish()
            if code != 0:
                assert code in (-number, 128 + number), output
                assert "Traceback" not in output, output
                if number != signal.SIGKILL:
                    noticed = (life.noticed or sent + seconds) - sent
                    worked = _used_by_children() - used
                    late = f"noticed {noticed:.1f} s after the signal, {worked:.1f} s of work"
                    assert min(noticed, worked) <= SOONEST, f"{late}:\n{output}"
                    assert noticed <= STARVED, f"{late}:\n{output}"
                    tally.noticed.append(noticed)
                    tally.worked.append(worked)
                    tally.ended.append(seconds)
                    way = f"signal {landed(before, output, checks)}"
                ways.append(way)
                tally.ways[way] += 1
                continue
        else:
            code, output = life.finish()
        assert code == 0, output
        return ways


def _used_by(process: int) -> float:
    """Return the processor time (s) of a process so far; 0 where there is no /proc to tell."""
    try:
        fields = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        )
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _used_by_children() -> float:
    """Return the processor time (s) of all processes that this one has waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _start(
    checkout: Checkout, task: str, job: Trained, checks: Mapping[str, bool], *options: str
) -> Life:
    eta, rho = JOBS[task]
    arguments = {
        "--task": task,
        "--eta": eta,
        "--rho": rho,
        "--device": "cpu",
        "--data": f"results/tiny/data/{task}.npz",
        "--cache": "results/tiny/cache/jax",  # where the workflow has most of these programs
        "--output": job.run,
        "--parameters": job.parameters,
        "--checkpoints": job.checkpoints,
    }
    flat = [part for pair in arguments.items() for part in pair]
    configuration = ("--configfile", "config.yaml", TINY, "longer.yaml")
    process = checkout.start("workflow/scripts/train_run.py", *configuration, *flat, *options)
    return Life(process, job, checks)


def _any_moment(life: Life, chance: random.Random) -> bool:
    """Wait until some moment of the job, starting up included."""
    return life.outlasts(chance.uniform(0, 6))


def _in_training(life: Life, chance: random.Random) -> bool:
    """Wait until some moment after a first checkpoint of this life."""
    before = {path.name for path in life.job.checkpoints.glob("*.npz")}
    fresh = life.sees(lambda: {path.name for path in life.job.checkpoints.glob("*.npz")} - before)
    return fresh and life.outlasts(chance.uniform(0, 1))


def _at_checkpoint(life: Life, chance: random.Random) -> bool:
    """Wait for a checkpoint that is being written, not always the first."""
    for _ in range(chance.randint(1, 4)):
        if not life.sees(lambda: [*life.job.checkpoints.glob(".unfinished*")], pause=0.0):
            return False
    return life.outlasts(chance.uniform(0, 0.002))


def _at_final_write(life: Life, chance: random.Random) -> bool:
    """Wait for an output that is being written."""
    seen = life.sees(lambda: [*life.job.run.parent.glob(".*.tmp")], pause=0.0)
    return seen and life.outlasts(chance.uniform(0, 0.02))


def _in_density(life: Life, chance: random.Random) -> bool:
    """Wait for a check, most of which have a density estimated next or soon."""
    line = re.compile(r"step \d+\S*  loss")
    return life.sees(lambda: any(map(line.match, life.lines))) and life.outlasts(
        chance.uniform(0, 0.2)
    )


def _in_solver(life: Life, chance: random.Random) -> bool:
    """Wait for the checkpoint just before a check, not always the first."""
    skipped = chance.randint(0, 3)

    def begun() -> bool:
        found = re.findall(r"^checkpoint at step (\d+):", "".join(life.lines), re.MULTILINE)
        return len([step for step in found if step in life.checks]) > skipped

    return life.sees(begun) and life.outlasts(chance.uniform(0, 0.03))


MOMENTS: Mapping[str, Callable[[Life, random.Random], bool]] = {
    "SIGKILL at any moment": _any_moment,
    "SIGKILL in training": _in_training,
    "SIGKILL at a checkpoint": _at_checkpoint,
    "SIGKILL at the final write": _at_final_write,
    "signal in training": _in_training,
    "signal in a density": _in_density,
    "signal in the solver": _in_solver,
}
MEASUREMENTS = ("signal in a density", "signal in the solver")
