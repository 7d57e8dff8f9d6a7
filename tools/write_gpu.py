"""Write docs/gpu.md from what the GPU's benchmark stored in benchmarks/results/gpu.json.

Run as ``python tools/write_gpu.py``. A test holds the committed file equal to what this script
writes.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from benchmarks import gpu
from benchmarks.measuring import RESULTS
from samedge.config import experiment as configuration

REPOSITORY = Path(__file__).resolve().parents[1]
#: Seconds of a job of training that are neither steps nor products, as allowed for below.
START = 30
PAGE = REPOSITORY / "docs" / "gpu.md"

TEXT = """\
# On a GPU

`benchmarks/gpu.py` measures in a given number of minutes all that a GPU can tell, the most
valuable first: whether its numbers are those of a CPU and of float64, how fast it steps and
measures at the paper's size, what TF32 would cost, and whole jobs that share a card or go on after
a kill. This page is written by `python tools/write_gpu.py` from what it stored in
[benchmarks/results/gpu.json](../benchmarks/results/gpu.json).

## What an H200 gave

![Steps, checks and runs at once on an H200](images/gpu.png)

```text
{report}
```

Times are of one card with {versions}: the least mean of three rounds
for steps and products, the median of three for checks. "not products" is what of a warm check's
time its products do not account for. An error of λ is the largest of the three over the operator
norm.

Two runs were made, of twelve minutes in all. Of the first are the planted spectra, the default
runs, jobs that share the card, the job that was killed and the runs at once. What they showed, and
what was mended:

- **Right.** The planted spectra, the problems of the published code and the float64 truths come
  out as on a CPU. A default run begins with the CPU's numbers, to rounding, which then grows, and
  settles at the same multiple of its edge within 0.5 % (mnist) and 2.1 % (cifar10).
- **Scatters.** Where operations are deterministic, XLA has a GPU
  [take a scatter one index after the other](https://github.com/openxla/xla/pull/17886), and the
  derivatives of indexing are scatters. Embeddings and the loss of characters are products with
  one-hot rows on a GPU now. The first run, without that, was cut off in the default run of the
  text; the second timed steps and checks of the text, with it. What it gains was not measured.
- **Convolution.** XLA's own was taken to be the right one for GPUs. Nine shifted slices and one
  product, as on CPUs, are {faster:.1f} times as fast in a Hessian-vector product at the paper's
  size, so that is what the network computes everywhere now. Steps and checks of cifar10 above are
  those of XLA's own; "shifted" has the step of now.
- **Newer JAX.** `top_eigenpairs` without `pure` recursed without end on JAX 0.11, which ended the
  second run's comparison; mended, and tested on JAX 0.12.
- **TF32** would make a step of mnist 3.8 times as fast, at an error of the gradient of 2e-3 and of
  λ of 8e-5, below the tolerance of a check; a step of cifar10 1.8 times, at 5e-3 and 2.5e-4.
  `precision: highest` remains the default.
- **Compiling.** The part of mnist took 77 s with its programs to compile, beside others, and 48 s
  with all of them ready. So the benchmark gets all programs ready side by side before it measures.

**Not run on a GPU:** runs of the paper's size; several runs at once but for mnist; a kill of
cifar10 and of the text; the price of deterministic operations; TF32's errors on the text; memory,
but for a peak that included float64; the network with the convolution of now in whole runs;
JAX 0.10.2, which is the lock's; `make environment GPU=1`.

## A night on one card

`config/night.yaml` has the paper's runs and sizes with budgets in steps. From the rates above, with
every step counted as one of SAM, the check as a warm one with both ends, and {start} s for each job
to start and compile, they take at the most, on the card measured:

{night}

The step of cifar10 is that of the convolution of now. Steps and checks are measured, the sum is
not: no run of this length was made. On another card these hours are longer or shorter as its rates
are, which `benchmarks/gpu.py` gives.

## To run it

Where the data are, in the repository, write the kit: settings, data and the CPU's numbers, 18 MB.

```
export TFDS_DATA_DIR=/path/to/tfds
source .venv/bin/activate
PYTHONPATH=workflow/scripts python -m benchmarks.gpu --write-kit
```

On the machine with the GPU, in a copy of the repository with the kit in `benchmarks/cache/gpu`:

```
PYTHONPATH=workflow/scripts python -m benchmarks.gpu --minutes 15 --output gpu-benchmark
```

It leaves `gpu.json`, `gpu.txt`, `gpu.png` and the run files of the runs of paper size. Parts that
fail or find no time are named, and the others are kept; `--parts` takes some of them.
`python -m benchmarks.gpu --small --device cpu --kit /tmp/kit` shows on a CPU that everything works.

**Without a network** there, all that is needed is Python 3.11 to 3.13, JAX with CUDA, Flax, Optax,
Haiku, netCDF4 and xarray, and Matplotlib and seaborn for the picture. A machine that has JAX, Flax
and Optax may lack three or four, which travel as wheels. Where there is a network, for the Python
there (312 for 3.12):

```
python -m pip download --no-deps --only-binary=:all: --python-version 312 --implementation cp \\
    --platform manylinux_2_28_x86_64 --dest wheels netCDF4 cftime dm-haiku jmp
```

and on the machine, into a folder that nothing else uses:

```
python -m pip install --no-index --no-deps --target site wheels/*.whl
export PYTHONPATH=$PWD/site:workflow/scripts
```
"""


def night(parts: Mapping[str, Any]) -> tuple[list[list[str]], float]:
    """Return the rows of the night's table, and the hours of all its runs, from measured rates."""
    experiment = configuration.load([REPOSITORY / "config" / "night.yaml"])
    rows, total = [], 0.0
    for task, settings in experiment.tasks.items():
        rates = parts[f"paper/{task}"]
        step, product = rates["step_seconds"], rates["product_seconds"]
        if task == "cifar10":
            step = parts["convolution"]["shifted_step_seconds"]
            product = parts["convolution"]["shifted_product_seconds"]
        steps, checks = settings.budget.steps, settings.checks.count
        density = experiment.density
        products = len(density.at) * density.probes * density.steps
        seconds = {
            "steps": steps * step,
            "checks": checks * rates["warm_check"]["seconds"]["median"],
            "densities": products * product,
        }
        runs = len(experiment.runs(task))
        hours = runs * (sum(seconds.values()) + START) / 3600
        total += hours
        minutes = [f"{seconds[part] / 60:.1f}" for part in seconds]
        rows.append([task, str(runs), f"{steps:,}", str(checks), *minutes, f"{hours:.1f}"])
    return rows, total


def night_table(parts: Mapping[str, Any]) -> str:
    """Return the table of the night in Markdown."""
    rows, total = night(parts)
    head = ["", "runs", "steps", "checks"]
    head += ["steps, min", "checks, min", "densities, min", "all runs, h"]
    rows = [head, ["---"] * len(head), *rows, ["all", *[""] * 6, f"{total:.1f}"]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def page() -> str:
    """Return the page."""
    results = json.loads((RESULTS / "gpu.json").read_text(encoding="utf-8"))
    versions = results["machine"]["versions"]
    convolution = results["parts"]["convolution"]
    products = (convolution[f"{name}_product_seconds"] for name in ("native", "shifted"))
    native, shifted = products
    return TEXT.format(
        report=gpu.report(results),
        versions=f"JAX {versions['jax']}, Flax {versions['flax']}, Haiku {versions['dm-haiku']}",
        faster=native / shifted,
        start=START,
        night=night_table(results["parts"]),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
