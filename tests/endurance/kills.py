"""Kill training runs, or the whole workflow, at random moments, and compare what comes of it.

    python tests/endurance/kills.py runs --kills 100
    python tests/endurance/kills.py workflow --kills 20

Every run or workflow that was killed is started again until it ends, and has to end with what it
would have come to undisturbed, to the bit, but for the times. A signal, of which a third of the
kills of runs are in the midst of a measurement, has to end a run within seconds. It needs neither
network nor GPU. Exit code 0 says that it was so; otherwise the first difference is shown.
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
from pathlib import Path

import xarray as xr

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(REPOSITORY / folder) for folder in ("tests/workflow", "tests/endurance", "workflow/scripts")
]

from killed_runs import JOBS, LONGEST, TIMES, kill_runs  # noqa: E402

from checkout import TINY, Checkout  # noqa: E402  (their folders are on the path only now)
from samedge.records import files as records  # noqa: E402


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


def _finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=LONGEST)
    return process.returncode, output


def _outlasts(process: subprocess.Popen, seconds: float) -> bool:
    """Wait so long; tell whether the process still runs."""
    time.sleep(seconds)
    return process.poll() is None


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
