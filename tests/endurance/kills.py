"""Kill training runs, or the whole workflow, at random moments, and compare what comes of it.

    python tests/endurance/kills.py runs --kills 100
    python tests/endurance/kills.py workflow --kills 20

Every run or workflow that was killed is started again until it ends, and has to end with what it
would have come to undisturbed, to the bit, but for the times. It needs neither network nor GPU.
Exit code 0 says that it was so; otherwise the first difference is shown.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import xarray as xr
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests/workflow"), str(REPOSITORY / "workflow/scripts")]

from checkout import TINY, Checkout  # noqa: E402  (their folders are on the path only now)
from samedge import records  # noqa: E402

TIMES = ["training_time", "wall_time"]
# More steps and checks than the tiny experiment has, so that there is something to kill.
LONGER = {
    "tasks": {
        "mnist": {"budget": {"steps": 400}, "checks": {"count": 9}},
        "cifar10": {"budget": {"steps": 60}, "checks": {"count": 7}},
        "tiny_shakespeare": {"budget": {"steps": 120}, "checks": {"spacing": "even", "count": 7}},
    }
}
# The learning rate and the radius of the run of each task.
JOBS = {"mnist": ("0.1", "0.1"), "cifar10": ("0.003", "0.1"), "tiny_shakespeare": ("0.1", "0.3")}
CHECKPOINT_STEPS = 7
MOST_KILLS = 6  # of one run
LONGEST = 600.0  # seconds that a process may take


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
        runs = [records.read_run(job.run).drop_vars(TIMES) for job in (self, other)]
        try:
            xr.testing.assert_identical(*runs)
        except AssertionError as error:
            yield str(error)
        if self.parameters.read_bytes() != other.parameters.read_bytes():
            yield f"{self.parameters} differs from {other.parameters}"
        yield from (f"{path} is left" for path in self.run.parent.iterdir() if path.suffix != ".nc")


def kill_runs(checkout: Checkout, kills: int, seed: int, say: Callable[[str], None]) -> Counter:
    """Kill training jobs of the three tasks so often, in turns; return how often in which way.

    ``checkout`` must hold the data of the tiny experiment.

    Raises
    ------
    AssertionError
        If a job ends with anything but what it comes to undisturbed.
    """
    chance = random.Random(seed)
    (checkout.root / "longer.yaml").write_text(yaml.safe_dump(LONGER), encoding="utf-8")
    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        references = {}
        for task in JOBS:
            reference = Trained.under(Path(folder) / task / "reference")
            done = _finish(_job(checkout, task, reference, "--checkpoint-minutes", "0"))
            assert done[0] == 0, done[1]
            references[task] = reference
            say(f"{task}: undisturbed, {records.read_run(reference.run).sizes['check']} checks")
        number = 0
        while counts.total() < kills:
            for task in JOBS:
                number += 1
                job = Trained.under(Path(folder) / task / f"run{number}")
                ways = _kill_until_done(checkout, task, job, chance)
                counts.update(ways)
                differences = list(job.differences(references[task]))
                assert not differences, "\n".join(differences)
                say(f"{task}: killed by {', '.join(ways) or 'nothing'}; the same to the bit")
                if counts.total() >= kills:
                    break
    return counts


def _kill_until_done(
    checkout: Checkout, task: str, job: Trained, chance: random.Random
) -> list[str]:
    ways = []
    while True:
        process = _job(checkout, task, job, "--checkpoint-steps", str(CHECKPOINT_STEPS))
        way = chance.choice(list(MOMENTS)) if len(ways) < MOST_KILLS else None
        if way is not None and MOMENTS[way](process, job, chance):
            process.send_signal(signal.SIGTERM if way == "SIGTERM" else signal.SIGKILL)
            code, output = _finish(process)
            if code != 0:
                assert code in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM), output
                assert "Traceback" not in output, output
                ways.append(way)
                continue
        else:
            code, output = _finish(process)
        assert code == 0, output
        return ways


def _job(checkout: Checkout, task: str, job: Trained, *options: str) -> subprocess.Popen:
    eta, rho = JOBS[task]
    arguments = {
        "--task": task,
        "--eta": eta,
        "--rho": rho,
        "--device": "cpu",
        "--data": f"results/tiny/data/{task}.npz",
        "--cache": "results/cache",
        "--output": job.run,
        "--parameters": job.parameters,
        "--checkpoints": job.checkpoints,
    }
    flat = [part for pair in arguments.items() for part in pair]
    configuration = ("--configfile", "config.yaml", TINY, "longer.yaml")
    return checkout.start("workflow/scripts/train_run.py", *configuration, *flat, *options)


def _finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=LONGEST)
    return process.returncode, output


def _any_moment(process: subprocess.Popen, job: Trained, chance: random.Random) -> bool:
    """Wait until some moment of the job, starting up included."""
    return _outlasts(process, chance.uniform(0, 6))


def _in_training(process: subprocess.Popen, job: Trained, chance: random.Random) -> bool:
    """Wait until some moment after a first checkpoint of this life."""
    before = {path.name for path in job.checkpoints.glob("*.npz")}
    fresh = _seen(process, lambda: {path.name for path in job.checkpoints.glob("*.npz")} - before)
    return fresh and _outlasts(process, chance.uniform(0, 1))


def _at_checkpoint(process: subprocess.Popen, job: Trained, chance: random.Random) -> bool:
    """Wait for a checkpoint that is being written, not always the first."""
    for _ in range(chance.randint(1, 4)):
        if not _seen(process, lambda: [*job.checkpoints.glob(".unfinished*")], pause=0.0):
            return False
    return _outlasts(process, chance.uniform(0, 0.002))


def _at_final_write(process: subprocess.Popen, job: Trained, chance: random.Random) -> bool:
    """Wait for an output that is being written."""
    seen = _seen(process, lambda: [*job.run.parent.glob(".*.tmp")], pause=0.0)
    return seen and _outlasts(process, chance.uniform(0, 0.02))


MOMENTS: Mapping[str, Callable[[subprocess.Popen, Trained, random.Random], bool]] = {
    "SIGKILL at any moment": _any_moment,
    "SIGKILL in training": _in_training,
    "SIGKILL at a checkpoint": _at_checkpoint,
    "SIGKILL at the final write": _at_final_write,
    "SIGTERM": _in_training,
}


def _outlasts(process: subprocess.Popen, seconds: float) -> bool:
    """Wait so long; tell whether the process still runs."""
    time.sleep(seconds)
    return process.poll() is None


def _seen(process: subprocess.Popen, found: Callable[[], object], pause: float = 0.002) -> bool:
    """Wait until something is found; tell whether it was while the process ran."""
    while process.poll() is None:
        if found():
            return True
        time.sleep(pause)
    return False


def kill_workflow(
    checkout: Checkout,
    kills: int,
    seed: int,
    say: Callable[[str], None],
    targets: Sequence[str] = (),
) -> Counter:
    """Kill the workflow of the tiny experiment so often; return how often in which way.

    Nothing is done by hand between a kill and the next start but what a message asks for. With
    ``targets`` no more than these are made; they must need cubes.

    Raises
    ------
    AssertionError
        If a start fails, or cubes differ from those of a workflow that nobody disturbed.
    """
    chance = random.Random(seed)
    command = ("-m", "snakemake", "--configfile", TINY, "--cores", "2", *targets)
    results = checkout.root / "results/tiny"
    forget_runs(results)
    begun = time.monotonic()
    code, output = _finish(checkout.start(*command))
    assert code == 0, output
    usual = time.monotonic() - begun
    cubes = sorted((results / "cubes").glob("*.nc"))
    assert cubes, "no target needs a cube"
    references = {path: records.read_cube(path).drop_vars(TIMES) for path in cubes}
    say(f"undisturbed in {usual:.0f} s, {len(cubes)} cubes")
    counts: Counter = Counter()
    while counts.total() < kills:
        forget_runs(results)
        while True:
            process = checkout.start(*command, start_new_session=True)
            way = chance.choice(list(ENDINGS)) if counts.total() < kills else None
            if way is not None and _outlasts(process, chance.uniform(1, max(2, usual / 3))):
                ENDINGS[way](process)
                counts[way] += 1
                # Jobs that live on have the pipe, which nobody reads any more.
                process.wait(timeout=LONGEST)
                process.stdout.close()
                say(f"killed by {way}")
                continue
            code, output = _finish(process)
            if code != 0 and "--unlock" in output:
                unlocked = checkout.python(*command[:4], "--unlock")
                assert unlocked.returncode == 0, unlocked.stdout
                say("unlocked, as its message says")
                continue
            assert code == 0, output
            break
        for path, reference in references.items():
            xr.testing.assert_identical(records.read_cube(path).drop_vars(TIMES), reference)
        assert not [*(results / "checkpoints").rglob("*.npz")], "checkpoints are left"
        say("completed; the same cubes")
    return counts


def forget_runs(results: Path) -> None:
    """Delete every run file and cube, so that the workflow has to train again."""
    for path in [*(results / "runs").rglob("*.nc"), *(results / "cubes").glob("*.nc")]:
        path.unlink()


def _group(number: signal.Signals) -> Callable[[subprocess.Popen], None]:
    def end(process: subprocess.Popen) -> None:
        os.killpg(process.pid, number)

    return end


ENDINGS: Mapping[str, Callable[[subprocess.Popen], None]] = {
    "SIGKILL, jobs live on": lambda process: process.send_signal(signal.SIGKILL),
    "SIGKILL to all": _group(signal.SIGKILL),
    "SIGTERM": lambda process: process.send_signal(signal.SIGTERM),
    "SIGINT to all, as from a terminal": _group(signal.SIGINT),
}


@contextmanager
def prepared_checkout() -> Iterator[Checkout]:
    """Yield a copy of this checkout in a temporary folder, with the tiny experiment's data."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout.copy(REPOSITORY, Path(folder) / "checkout")
        data = [f"results/tiny/data/{task}.npz" for task in JOBS]
        done = checkout.snakemake("--cores", "all", *data)
        assert done.returncode == 0, done.stdout
        yield checkout


def main(argv: Sequence[str] | None = None) -> None:
    """Kill what the command line asks for, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("runs", "workflow"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of when and how to kill")
    arguments = parser.parse_args(argv)
    kill = {"runs": kill_runs, "workflow": kill_workflow}[arguments.what]
    with prepared_checkout() as checkout:
        counts = kill(
            checkout, arguments.kills, arguments.seed, lambda line: print(line, flush=True)
        )
    print("\n".join(f"{count:4d}  {way}" for way, count in counts.most_common()))
    print("all the same")


if __name__ == "__main__":
    main()
