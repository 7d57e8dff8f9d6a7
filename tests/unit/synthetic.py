"""Synthetic runs, shaped like real ones, for tests of records, cubes and figures."""

import numpy as np
import xarray as xr

from samedge.base.files import checksum
from samedge.config.grid import grid_json
from samedge.config.settings import RunSettings, build
from samedge.curvature.krylov.quadrature import moment
from samedge.data.file import TaskData
from samedge.records import files, schema
from samedge.updates.edges import sam_edge

GRIDS = {
    "mnist": (("0.03", "0.1", "0.3"), ("0", "0.1")),
    "cifar10": (("0.0003", "0.001", "0.003", "0.01"), ("0", "0.1")),
    "tiny_shakespeare": (("0.01", "0.02", "0.05", "0.1", "0.2", "0.5"), ("0", "0.3")),
}
#: Settings of the smallest Transformer.
TRANSFORMER = {
    "layers": 1,
    "heads": 1,
    "key_size": 2,
    "model_size": 2,
    "sequence_length": 4,
    "widening_factor": 2,
}
GRID_AXES = ("eta", "rho", "seed")
DENSITY = {"at": [1], "probes": 2, "steps": 2}
ENVIRONMENT = {
    "git_commit": "0" * 40,
    "package_versions": '{"jax": "0.10.2"}',
    "unlocked_packages": "",
    "device": "cpu",
    "matmul_precision": "highest",
    "plugins": "{}",
    "jax_settings": '{"XLA_FLAGS": "", "jax_threefry_partitionable": true}',
    "data_source": "sample",
    "data_description": "32x32 patches of ten photographs carried by scikit-image 0.26.0",
    "data_stand_in": True,
    "data_checksum": "c0ffee",
}


def run_settings(task="mnist", eta="0.3", rho="0.1", seed=0, **changes) -> RunSettings:
    """Return the settings of a small run; ``changes`` replaces top-level entries."""
    values = {
        "task": task,
        "eta": eta,
        "rho": rho,
        "seed": seed,
        "source": "sample",
        "kind": "images",
        "dataset": {"name": task, "train_examples": 100, "test_examples": 50},
        "model": {"name": "mlp", "settings": {"depth": 4, "width": 20}},
        "loss": {"name": "squared_error"},
        "update": {"name": "sam", "epsilon": 1e-5},
        "batch_size": 128 if task == "tiny_shakespeare" else None,
        "microbatch": None,
        "budget": {"steps": 400, "hours": None},
        "checks": {"spacing": "even", "count": 41, "minutes": None},
        "curvature": {
            "eigenvalues": 3,
            "tolerance": 1e-3,
            "max_products": 300,
            "max_vectors": 40,
            "overlook": 1e-3,
            "ends": 0.05,
            "certify": 1,
        },
        "density": {"at": [], "probes": 3, "steps": 4},
        "audit": {"at": []},
        "divergence": {"loss_factor": 10.0, "checks": 3},
        "precision": "highest",
    }
    return build(RunSettings, values | changes)


def grid_settings(task="mnist", eta=None, rho=None, seeds=(0,), **changes) -> list[RunSettings]:
    """Return the runs of a grid, by default the synthetic one of the task."""
    etas, rhos = GRIDS[task]
    return [
        run_settings(task, step_size, radius, seed, **changes)
        for step_size in eta or etas
        for radius in rho or rhos
        for seed in seeds
    ]


def check(settings: RunSettings, step: int, generator: np.random.Generator, steps: int) -> dict:
    """Return one check of a run that sharpens towards its edge and then stays around it."""
    eta, rho = float(settings.eta), float(settings.rho)
    norm = 4 * np.exp(-3 * step / steps) + 0.05
    edge = sam_edge(norm, eta, rho)
    natural = 12 + 60 * step / steps / (eta**0.5)
    sharpness = min(natural, edge * generator.normal(1.03, 0.04))
    if settings.task == "cifar10" and step == 0:
        sharpness = -923.0
    value = sharpness * np.array([1.0, 0.93, 0.7]) * generator.normal(1, 0.01, 3)
    return {
        "step": step,
        "training_time": 0.021 * step,
        "wall_time": 0.05 * step + 1.5,
        "training_loss": 0.1 * np.exp((rho - 4) * step / steps) * generator.normal(1, 0.05) + 1e-4,
        "gradient_norm": norm,
        "sam_gradient_norm": 1.4 * norm,
        "learning_rate": eta,
        "sam_edge": edge,
        "effective_curvature": value[0],
        "edge_ratio": abs(value[0]) / edge,
        "eigenvalue": value,
        "eigenvalue_residual": np.abs(value) * [1e-4, 2e-4, 3e-3 if step % 7 == 3 else 4e-4],
        "eigenvalue_converged": np.array([True, True, step % 7 != 3]),
        "largest_eigenvalue": value.max(),
        "smallest_eigenvalue": -0.2 * abs(value[0]),
        "largest_eigenvalue_bound": value.max() + 0.04 * abs(value[0]),
        "smallest_eigenvalue_bound": -0.24 * abs(value[0]),
        "gradient_alignment": abs(np.tanh(3 * step / steps) * generator.uniform(0.3, 0.6)),
        "sam_gradient_alignment": abs(np.tanh(3 * step / steps) * generator.uniform(0.7, 0.95)),
        "hessian_vector_products": 40 + step % 11,
        "overlooked": 1e-4 * (1 + step % 7),
    }


def density(settings: RunSettings, row: dict, generator: np.random.Generator) -> dict:
    """Return a spectral density at a check: a bulk around zero and the eigenvalues of the check."""
    shape = (settings.density.probes, settings.density.steps)
    nodes = np.sort(generator.normal(0, 0.05 * abs(row["eigenvalue"][0]), shape), axis=1)
    nodes[:, -1] = row["largest_eigenvalue"]
    weights = np.exp(-np.arange(shape[1])) * generator.uniform(0.5, 1.5, shape)
    weights[:, -1] = 1e-3 * generator.chisquare(1, shape[0])
    weights /= weights.sum(axis=1, keepdims=True)
    nodes[0, -1] = weights[0, -1] = np.nan  # a chain that ended early
    weights[0, :-1] /= weights[0, :-1].sum()
    mean, square = (moment(nodes, weights, order) for order in (1, 2))
    return {
        "density_step": row["step"],
        "density_node": nodes,
        "density_weight": weights,
        "density_mean": mean.value,
        "density_mean_error": mean.error,
        "density_mean_square": square.value,
        "density_mean_square_error": square.error,
        "density_size": 1000,
        "density_products": nodes.size - 1,
    }


def densities(settings: RunSettings, rows: list[dict], steps: int) -> list[dict | None]:
    """Return the density of the first check that has reached each share of so many steps."""
    generator = np.random.default_rng(1)
    found = []
    for share in settings.density.at:
        reached = [row for row in rows if row["step"] >= share * steps]
        found.append(density(settings, reached[0], generator) if reached else None)
    return found


BLOCKS = {"dense_0": 0.8, "dense_1": 0.3, "dense_2/norm": 0.05}


def blocks(settings: RunSettings, rows: list[dict], steps: int) -> dict[str, list[dict | None]]:
    """Return each block's share of the first eigenvalue at the checks that ``blocks.at`` names."""
    found: dict[str, list[dict | None]] = {name: [] for name in BLOCKS}
    if not settings.blocks.at:
        return {}
    for share in settings.blocks.at:
        reached = [row for row in rows if row["step"] >= share * steps][:1]
        for number, (name, part) in enumerate(BLOCKS.items()):
            found[name].append(None)
            for row in reached:
                found[name][-1] = {
                    "block_step": row["step"],
                    "block_curvature": part * row["eigenvalue"][0],
                    "block_residual": 1e-4 * abs(row["eigenvalue"][0]),
                    "block_converged": number < 2,
                    "block_overlooked": 5e-4,
                    "block_size": 100 * 10**number,
                    "block_products": 12 + number,
                }
    return found


def run(
    settings: RunSettings, checks: int = 41, diverged_at: int | None = None, **attributes
) -> xr.Dataset:
    """Return a run file of ``checks`` checks, ten steps apart, cut short if it diverged."""
    generator = np.random.default_rng([settings.seed, *settings.name.encode()])
    steps = [10 * number for number in range(checks)]
    if diverged_at is not None:
        steps = [step for step in steps if step <= diverged_at]
    outcome = files.Outcome(
        status="completed" if diverged_at is None else "diverged",
        step=steps[-1] if diverged_at is None else diverged_at,
        reason="budget of steps spent" if diverged_at is None else "the loss is not finite",
        test_metric_name="test_loss" if settings.task == "tiny_shakespeare" else "test_error",
        test_metric=float(settings.eta) if diverged_at is None else np.nan,
    )
    rows = [check(settings, step, generator, 10 * checks) for step in steps]
    steps = 10 * (checks - 1)
    return files.run_dataset(
        settings,
        rows,
        outcome,
        ENVIRONMENT | attributes,
        densities(settings, rows, steps),
        blocks=blocks(settings, rows, steps),
        ways=[None] * len(settings.way.at),
    )


def paper_like(task: str, eta: float, rho: float, seed: int, t: np.ndarray) -> dict:
    """Return the variables of one run as the paper describes it; (check,) or (check, rank).

    ``t`` is the share of the run that is done at each check, from 0 to 1.
    """
    etas = [float(label) for label in GRIDS[task][0]]
    upper, lower = eta >= etas[-(len(etas) // 2)], eta < etas[len(etas) // 2]
    gd_at_edge = upper if task == "cifar10" else eta == max(etas)
    gd_edge = 2 / eta
    level = {"mnist": 10, "cifar10": 50, "tiny_shakespeare": 10}[task]
    edge = gd_edge * (1 - 0.3 * t) / level if rho else gd_edge + 0 * t
    wobble = 1 + 0.01 * np.sin(40 * t + seed)
    top = edge * (1.02 if rho or gd_at_edge else 0.6) * wobble
    text = task == "tiny_shakespeare"
    delay = 1.2 if text and rho else 1.0
    loss = 2 + 2 * np.exp(-9 * t / delay) if text else 0.1 * np.exp(-5 * t)
    if task == "cifar10" and rho and upper:
        loss = loss * np.exp(-t)
    gain = -0.1 if text and lower else 0.2
    aligned = 0.6 if task == "cifar10" and upper else 0.5
    norm = 2 * np.exp(-2 * t)
    return {
        "training_loss": loss * (1 + 0.001 * seed),
        "gradient_norm": norm,
        "sam_gradient_norm": 3 * np.exp(-2 * t),
        "sam_edge": edge,
        "eigenvalue": top[:, None] * [1, 0.98, 0.95],
        "largest_eigenvalue": top,
        "smallest_eigenvalue": -0.3 * norm / rho if rho else -0.05 * top,
        "gradient_alignment": aligned + 0 * t,
        "sam_gradient_alignment": aligned + gain + 0 * t,
    }


def made_cube(task="mnist", eta=None, rho=None, seeds=(0,), checks=21, curves=paper_like):
    """Return a cube with the runs of ``curves``, 1,000 parameters and 20 steps a check.

    ``curves`` returns variables of a run, or None for one that diverged at once.
    """
    settings = grid_settings(task, eta, rho, seeds, density=DENSITY)
    labels = [list(dict.fromkeys(getattr(one, axis) for one in settings)) for axis in GRID_AXES]
    sizes = dict(zip(GRID_AXES, map(len, labels), strict=True)) | {"check": checks, "rank": 3}
    sizes |= {"density_check": 1, "probe": DENSITY["probes"], "node": DENSITY["steps"]}
    names = schema.variable_names(["test_error"], ["density"])
    values = schema.blank_values(names, sizes)
    share = np.linspace(0, 1, checks)
    for settings_of_run in settings:
        point = tuple(
            places.index(getattr(settings_of_run, axis))
            for axis, places in zip(GRID_AXES, labels, strict=True)
        )
        numbers = float(settings_of_run.eta), float(settings_of_run.rho), settings_of_run.seed
        made = curves(task, *numbers, share)
        values["status"][point] = schema.DIVERGED if made is None else schema.COMPLETED
        values["end_step"][point] = 7 if made is None else 20 * (checks - 1)
        if made is not None:
            for name, curve in made.items():
                values[name][point] = curve
            values["step"][point] = values["training_time"][point] = 20.0 * np.arange(checks)
            values["eigenvalue_converged"][point] = 1
            values["density_size"][point] = 1000
    attributes = files.global_attributes("made", "made", grid_json(settings), ENVIRONMENT)
    return files.assemble(values, *labels, attributes)


def write_runs(folder, settings: list[RunSettings], **diverged_at: int) -> str:
    """Write the run file of every settings; return the grid. Keys: run names that diverge."""
    for one in settings:
        files.write(run(one, diverged_at=diverged_at.get(one.name)), folder / f"{one.name}.nc")
    return grid_json(settings)


def task_data(task="mnist", examples=20, shape=(4, 4, 1)) -> TaskData:
    """Return data of random images or characters, as they are read from a data file."""
    generator = np.random.default_rng(0)
    if task == "tiny_shakespeare":
        kind = "characters"
        arrays = {
            f"{split}_text": generator.integers(1, 128, examples, np.uint8)
            for split in ("train", "test")
        }
    else:
        kind = "images"
        arrays = {}
        for split in ("train", "test"):
            arrays[f"{split}_inputs"] = generator.integers(0, 256, (examples, *shape), np.uint8)
            arrays[f"{split}_labels"] = (np.arange(examples) % 10).astype(np.uint8)
    attributes = {
        "name": task,
        "kind": kind,
        "source": "sample",
        "stand_in": True,
        "description": "noise",
        "origin": "a random generator",
    }
    return TaskData(arrays, attributes, checksum(arrays, attributes))
