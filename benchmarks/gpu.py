"""Everything that a GPU can tell, in a given number of minutes, most valuable first.

    python -m benchmarks.gpu --kit benchmarks/cache/gpu --write-kit      where the data are
    python -m benchmarks.gpu --kit benchmarks/cache/gpu --minutes 7      on the GPU
    python -m benchmarks.gpu --kit /tmp/small --small --device cpu       on a CPU, cut down

A kit holds settings, data and the CPU's numbers (:mod:`benchmarks.gpu_kit`), so that the machine
with the GPU needs no network, no data host and no Snakemake: Python, JAX with CUDA, Flax, Optax,
Haiku, netCDF4 and xarray, and Matplotlib and seaborn for the picture. docs/gpu.md says how to
carry them. Each part runs in a process of its own, so that none can end another, and what it has
measured is stored as it goes.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.gpu_kit import POINTS, Kit, Store, write_kit
from samedge.base.errors import UserError, run_script

Process = subprocess.Popen[str]
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "optax", "numpy", "xarray", "netCDF4")
#: The parts in order, with the most of all minutes that each may take.
SHARES = {
    "parity": 0.3,
    "card": 0.1,
    **{f"paper/{task}": 0.25 for task in POINTS},
    "convolution": 0.1,
    "together": 0.2,
    "sharing": 0.2,
    "resume": 0.3,
    "price": 0.1,
    "runs": 1.0,
}
#: The parts that compute in their own process, and what getting their programs ready may take.
COMPUTED = tuple(name for name in SHARES if name not in ("sharing", "resume", "runs"))
WARM_UP = 0.4
FREE = "--xla_gpu_deterministic_ops=false"
WORK, PROGRAMS = "work", "programs"  # folders of what is measured, below each other
RESERVE = 10.0  # seconds for the table and the picture


def run_part(name: str, kit: Kit, output: Path, cache: Path, device: str, seconds: float) -> None:
    """Measure one part in this process and store it in ``output`` as it goes.

    ``cache`` is where all parts keep their compiled programs.
    """
    if name not in COMPUTED:
        _run_jobs(name, kit, _storing(name, output), output, cache, device, seconds)
        return
    prepare = _prepare_free if name == "price" else _prepare
    prepare(device)
    from benchmarks import gpu_parity, gpu_speed
    from samedge.machine.compilation_cache import count_programs, shared_programs

    programs = count_programs()
    with shared_programs(cache, print) as share:
        store = _storing(name, output, share)
        kinds: dict[str, Callable[[], None]] = {
            "parity": partial(gpu_parity.measure, kit, store),
            "card": partial(_measure_card, kit, store, output),
            "convolution": partial(gpu_speed.measure_convolution, kit, store),
            "together": partial(gpu_speed.measure_together, kit, store),
            "price": partial(gpu_speed.measure_price, kit, store),
        }
        kinds |= {f"paper/{t}": partial(gpu_speed.measure_paper, kit, store, t) for t in POINTS}
        kinds[name]()
    counts = measuring.read_results(output / "gpu.json").get("programs", {})
    measuring.merge_results(output / "gpu.json", {"programs": {**counts, name: str(programs)}})


def _prepare(device: str) -> None:
    """Set JAX up as every job does."""
    from samedge.machine.device import prepare_jax

    prepare_jax("highest", device, report=lambda line: None)


def _prepare_free(device: str) -> None:
    """Set JAX up likewise, but for deterministic operations; XLA reads its flags once."""
    os.environ["XLA_FLAGS"] = FREE
    os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[device]
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_numpy_dtype_promotion", "strict")


def _storing(name: str, output: Path, also: Callable[[], None] = lambda: None) -> Store:
    """Return a function that stores what a part has measured by its key, and then does ``also``."""
    begun = time.monotonic()

    def store(key: str, value: Any) -> None:
        print(f"{time.monotonic() - begun:.1f} s: {key}", flush=True)
        path = output / "gpu.json"
        parts = measuring.read_results(path).get("parts", {})
        parts[name] = {**parts.get(name, {}), key: value}
        measuring.merge_results(path, {"parts": parts})
        also()

    return store


def _run_jobs(
    name: str,
    kit: Kit,
    store: Store,
    output: Path,
    cache: Path,
    device: str,
    seconds: float,
) -> None:
    from benchmarks import gpu_jobs

    jobs = gpu_jobs.Jobs(kit, store, output / WORK / name, cache, device)
    acts: dict[str, Callable[[], None]] = {
        "sharing": partial(gpu_jobs.measure_sharing, jobs),
        "resume": partial(gpu_jobs.measure_resume, jobs),
        "runs": partial(gpu_jobs.measure_runs, jobs, seconds),
    }
    acts[name]()


def _measure_card(kit: Kit, store: Store, output: Path) -> None:
    import jax

    from benchmarks import gpu_speed

    found = {"device": jax.devices()[0].device_kind, "machine": measuring.machine(PACKAGES)}
    found["driver"] = _driver()
    measuring.merge_results(output / "gpu.json", found)
    gpu_speed.measure_card(kit, store)


def _driver() -> str:
    command = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total",
        "--format=csv,noheader",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def run_all(
    kit: Kit, output: Path, device: str, minutes: float, parts: Sequence[str]
) -> dict[str, Any]:
    """Run the parts one after the other until the time is up; return all that is stored.

    First the programs of all of them are compiled, but for a CPU, which measuring needs as well. A
    part that fails or takes too long is named, with the end of its log, and the next one begins.
    """
    output.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes - RESERVE
    path, cache = output / "gpu.json", output / WORK / PROGRAMS
    absent = {f"paper/{task}" for task in POINTS} - {f"paper/{task}" for task in kit.sizes.tasks}
    parts = [name for name in parts if name not in absent]
    common = ["--kit", str(kit.folder), "--cache", str(cache), "--device", device]
    if device != "cpu":
        first = [name for name in parts if name in COMPUTED]
        warm_up(first, common, output, 60 * minutes * WARM_UP)
    for name in parts:
        left = end - time.monotonic()
        seconds = min(left, 60 * minutes * SHARES[name])
        if seconds < 1:
            _note(path, name, "not begun: no time was left", 0.0)
            continue
        begun = time.monotonic()
        own = ["--output", str(output), "--part", name, "--seconds", f"{seconds:.1f}"]
        ending = _end(_start([*common, *own]), seconds)
        took = time.monotonic() - begun
        print(f"{name}: {took:.1f} s{'; ' + ending if ending else ''}", flush=True)
        _note(path, name, ending, took)
    return measuring.read_results(path)


def warm_up(parts: Sequence[str], common: Sequence[str], output: Path, seconds: float) -> None:
    """Get the programs of all parts ready, side by side: that takes processors, not the device.

    What the parts measure meanwhile is worth nothing and is not kept.
    """
    begun = time.monotonic()
    processes = {}
    for name in parts:
        own = ["--output", str(output / WORK / "warm-up" / name.replace("/", "_")), "--quick"]
        # A device that is named is shared; memory is taken as it is needed.
        variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        variables["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        processes[name] = _start([*common, *own, "--part", name], variables)
    for name, process in processes.items():
        ending = _end(process, max(0.1, seconds - (time.monotonic() - begun)))
        print(f"{name} ready after {time.monotonic() - begun:.1f} s {ending}", flush=True)


def _start(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> Process:
    """Start a part's process."""
    scripts = str(ROOT / "workflow" / "scripts")
    paths = [str(ROOT), scripts, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | dict(variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _end(process: Process, seconds: float) -> str:
    """Wait for a part's process; return how it failed, "" if it did not."""
    try:
        log, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the jobs that it has started
        log, _ = process.communicate()
        return f"not finished in {seconds:.0f} s: {log[-1500:].strip()}"
    return f"failed: {log[-3000:].strip()}" if process.returncode else ""


def _note(path: Path, name: str, ending: str, seconds: float) -> None:
    endings = measuring.read_results(path).get("endings", {})
    endings[name] = {"seconds": seconds, "failure": ending}
    measuring.merge_results(path, {"endings": endings})


def report(results: Mapping[str, Any]) -> str:
    """Lay out all results as text."""
    from benchmarks import gpu_jobs, gpu_parity, gpu_speed

    parts = results.get("parts", {})
    versions = results.get("machine", {}).get("versions", {})
    blocks = [f"{results.get('device', '')}, JAX {versions.get('jax', '')}"]
    if "parity" in parts:
        blocks.append(gpu_parity.report(parts["parity"]))
    blocks += [gpu_speed.report_paper(parts), gpu_speed.report_rest(parts), gpu_jobs.report(parts)]
    failures = [
        f"{name}: {_briefly(ending['failure'])}"
        for name, ending in results.get("endings", {}).items()
        if ending["failure"]
    ]
    return "\n\n".join(filter(None, [*blocks, "\n".join(failures)]))


def _briefly(failure: str) -> str:
    """Return how a part failed and the last line of its log, cut to one line."""
    lines = failure.splitlines()
    how, _, rest = lines[0].partition(": ")
    last = lines[-1] if len(lines) > 1 else rest
    return f"{how}; last: {last[:70]}" if last else how


def main(argv: Sequence[str] | None = None) -> None:
    """Write a kit, measure, or lay out again what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=f"Parts: {', '.join(SHARES)}.",
    )
    parser.add_argument(
        "--kit", type=Path, default=ROOT / "benchmarks" / "cache" / "gpu", help="folder of the kit"
    )
    parser.add_argument("--write-kit", action="store_true", help="write the kit and do no more")
    parser.add_argument("--small", action="store_true", help="a kit cut down to a minute on a CPU")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="until all must have ended")
    parser.add_argument(
        "--output", type=Path, default=Path("gpu-benchmark"), help="folder to write"
    )
    parser.add_argument("--parts", nargs="+", choices=list(SHARES), default=list(SHARES))
    parser.add_argument("--part", choices=list(SHARES), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    kit, output = Kit(arguments.kit.resolve(), arguments.quick), arguments.output.resolve()
    if arguments.part is not None:
        output.mkdir(parents=True, exist_ok=True)
        part, seconds = arguments.part, arguments.seconds
        run_part(part, kit, output, arguments.cache, arguments.device, seconds)
        return
    if arguments.write_kit or (arguments.small and not (kit.folder / "sizes.json").is_file()):
        # Measuring needs the programs of a kit that is written just before, on a CPU at least.
        cache = None if arguments.write_kit else output / WORK / PROGRAMS
        write_kit(kit.folder, arguments.small, cache)
        if arguments.write_kit:
            return
    if not (kit.folder / "sizes.json").is_file():
        raise UserError(f"--kit: no kit in {kit.folder}; write one with --write-kit")
    results = run_all(kit, output, arguments.device, arguments.minutes, arguments.parts)
    text = report(results)
    (output / "gpu.txt").write_text(text + "\n", encoding="utf-8")
    print(text, flush=True)
    try:
        from benchmarks.gpu_figure import draw
    except ImportError as error:
        print(f"no picture ({error}): where Matplotlib and seaborn are, draw gpu.json", flush=True)
        return
    draw(results, output / "gpu.png")


if __name__ == "__main__":
    run_script(main)
