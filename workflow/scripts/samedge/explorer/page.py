"""Cubes in, page out: an experiment to explore in a browser, as one HTML file without a network.

The page is made of ``explorer.html``, ``explorer.css`` and the ``explorer*.js`` beside this module,
with plotly.js and the data of every run written into it. Numbers keep :data:`DIGITS` significant
digits; what is not a finite number is null, and a number of steps without end is :data:`NEVER`. Of
an experiment of very many runs the page has some of the checks of each, see :data:`MOST_NUMBERS`.
"""

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import plotly.offline
import xarray as xr

from samedge.analysis.quantities import (
    BOUNDED,
    LATE,
    STOCHASTIC,
    median_over_seeds,
    meets_another,
    over_threshold,
    scheduled,
)
from samedge.analysis.statistics import STATISTICS
from samedge.base.errors import UserError
from samedge.config.paper_figures import described
from samedge.explorer.styles import plain, styles
from samedge.figures import panels
from samedge.figures.time_axis import time_axis
from samedge.records import describe, files, schema
from samedge.records.cubes import ending, run_name
from samedge.records.schema import VARIABLES

#: Settings that the page shows as the grid.
GRID = ("task", "eta", "rho", "seed", "start_from")
HERE = Path(__file__).parent
SCRIPTS = tuple(f"explorer{part}.js" for part in ("_live", "_map", "_axes", "_panels", ""))
DIGITS = 5
NEVER = "never"
#: The statistics that the edge map offers, by the name that its list shows for them.
MAPPED = {
    "edge_ratio": "|λ₁| / edge",
    "share_within_25": "share at the edge",
    "first_at_edge": "first step at the edge",
    "final_loss": "final training loss",
    "negative_curvature": "−λ_min ρ/‖g‖",
}
#: What Proposition 3 bounds, computed from these: by the ends that were found, and by the bounds.
COMPUTED = {
    f"{name}{suffix}": compute
    for name, both in BOUNDED.items()
    for suffix, compute in zip(("", "_bound"), both, strict=True)
}
#: What the page has of every check, in the order of its tables, before what is COMPUTED; of
#: RANK_COLUMNS a list for each rank.
CHECK_COLUMNS = (
    "step",
    "training_time",
    "training_loss",
    "gradient_norm",
    "sam_gradient_norm",
    "learning_rate",
    "sam_edge",
    "effective_curvature",
    "edge_ratio",
    "largest_eigenvalue",
    "smallest_eigenvalue",
    "largest_eigenvalue_bound",
    "smallest_eigenvalue_bound",
    "gradient_alignment",
    "sam_gradient_alignment",
    "hessian_vector_products",
)
RANK_COLUMNS = ("eigenvalue", "eigenvalue_residual", "eigenvalue_converged")
#: Measured numbers that a page has at most, so that browsers open it; each takes some eight
#: characters. Of more, every run keeps checks from its first to its last, two or more.
MOST_NUMBERS = 5_000_000


@dataclass(frozen=True)
class Live:
    """What a page has of runs in progress.

    Attributes
    ----------
    as_of
        When it is written.
    renew
        Seconds after which a browser loads it anew, None for one that is not to be.
    unfinished
        By task and name of the run, how each stands that has not ended: a word, and a sentence.
    """

    as_of: str
    renew: float | None = None
    unfinished: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)


def page(cubes: Iterable[xr.Dataset], figures: Sequence[str] = (), live: Live | None = None) -> str:
    """Return the page that shows every run of these cubes, one cube a task.

    ``figures`` are paths of PDF files, as seen from the page, which it offers for download. The
    same cubes give the same text. With ``live`` runs in progress are shown as such.

    Raises
    ------
    UserError
        If a cube has no runs.
    """
    cubes = list(cubes)
    room = MOST_NUMBERS // max(1, sum(cube["status"].size for cube in cubes))
    unfinished = {} if live is None else live.unfinished
    tasks = [
        task_data(cube, room, unfinished.get(files.settings_of(cube)["task"], {})) for cube in cubes
    ]
    data = {
        "live": None if live is None else {"as_of": live.as_of, "renew": live.renew},
        "tasks": tasks,
        "statistics": {
            name: {"label": label, "definition": STATISTICS[name].definition}
            for name, label in MAPPED.items()
        },
        "definitions": _definitions(tasks),
        "styles": styles(),
        "never": NEVER,
        "transient": panels.TRANSIENT,
    }
    parts = {
        "title": html.escape("Explorer: " + ", ".join(task["name"] for task in tasks)),
        "style": _text("explorer.css"),
        "data": embedded(data),
        "downloads": _downloads(figures),
        "plotly": plotly.offline.get_plotlyjs(),
        "script": "\n".join(_text(name) for name in SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _text("explorer.html"))


def embedded(data: object) -> str:
    """Return data as JSON in which nothing can end the script element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def task_data(
    cube: xr.Dataset,
    room: int = MOST_NUMBERS,
    unfinished: Mapping[str, tuple[str, str]] | None = None,
) -> dict:
    """Return what the page has of a task: its grid, its settings, its edge map and every run.

    Of the checks of a run it has so many that there are at most ``room`` numbers, or two checks.
    ``unfinished`` says how runs stand that have not ended, by their names.
    """
    standing = unfinished or {}
    settings = files.settings_of(cube)
    if not cube["status"].size:
        raise UserError(
            f"the cube of '{settings['task']}' has no runs; give the one with diverged runs in it"
        )
    statistics = {name: _statistic(cube, name) for name in MAPPED}
    time = time_axis(cube, "training_time")
    note = describe.data_note(cube)
    minibatches = [*STOCHASTIC] if "batch_sharpness" in cube else []
    columns = (*CHECK_COLUMNS, *COMPUTED, *minibatches)
    numbers = len(columns) + len(RANK_COLUMNS) * cube.sizes["rank"]
    shown = max(2, room // numbers)
    facts = describe.facts(cube)
    if shown < cube.sizes["check"]:
        facts.append(["Checks", f"{shown} of {cube.sizes['check']:,} of a run are shown"])
    # Looked up once: of a dataset with thousands of runs that takes longer than all the rest.
    arrays = {
        name: cube[name].values
        for name in ("status", "end_step", *CHECK_COLUMNS, *RANK_COLUMNS, *schema.TEST_METRICS)
        if name in cube
    } | {name: compute(cube) for name, compute in COMPUTED.items()}
    # Over its threshold, and so 1 where a step leaves the expected loss of a quadratic as it is.
    arrays |= {name: over_threshold(cube, name) for name in minibatches}
    arrays["scheduled"] = np.asarray(scheduled(cube))
    arrays["meets_another"] = np.any(meets_another(cube), axis=-1)
    return {
        "name": settings["task"],
        "eta": [str(label) for label in cube["eta_label"].values],
        "rho": [str(label) for label in cube["rho_label"].values],
        "seed": [int(seed) for seed in cube["seed"].values],
        "gd_edge": rounded(cube["gd_edge"].values),
        "algorithms": describe.algorithms(cube),
        "edge": describe.edge(cube),
        "minibatches": minibatches,
        "time": {"factor": time.factor, "label": time.label},
        "tests": {
            metric: VARIABLES[metric].long_name for metric in schema.TEST_METRICS if metric in cube
        },
        "stand_in": note if int(cube.attrs["data_stand_in"]) else "",
        "facts": facts,
        "settings": [list(leaf) for leaf in describe.leaves(settings, leave=GRID)],
        "map": {name: edge_map(values) for name, values in statistics.items()},
        "runs": [
            [
                [
                    _run(arrays, statistics, (eta, rho, seed), shown, columns)
                    | {
                        "ending": ending(cube, eta, rho, seed),
                        "standing": standing.get(run_name(cube, eta, rho, seed)),
                    }
                    for seed in range(cube.sizes["seed"])
                ]
                for rho in range(cube.sizes["rho"])
            ]
            for eta in range(cube.sizes["eta"])
        ],
    }


def edge_map(values: np.ndarray) -> list[list[float | str | None]]:
    """Return the medians over seeds of a statistic (eta, rho, seed), of those that have one."""
    return rounded(median_over_seeds(values), NEVER)


def rounded(value: Any, infinite: str | None = None) -> Any:
    """Return a number, or nested arrays of numbers, for JSON."""
    if isinstance(value, np.ndarray):
        return [rounded(item, infinite) for item in value]
    number = float(value)
    if not math.isfinite(number):
        return infinite if math.isinf(number) else None
    # Counts stay exact, however many digits they have.
    return int(number) if number.is_integer() else float(f"{number:.{DIGITS}g}")


def _statistic(cube: xr.Dataset, name: str) -> np.ndarray:
    """Return a statistic of every run; a cube without any eigenvalue has none."""
    if not cube.sizes["rank"]:
        return np.full(cube["status"].shape, math.nan)
    # A loss that has overflowed, or a gradient of zero, is no reason to warn the reader.
    with np.errstate(all="ignore"):
        return STATISTICS[name].compute(cube)


def _run(
    arrays: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray],
    index: tuple[int, int, int],
    shown: int,
    columns: Sequence[str],
) -> dict:
    """Return one run: its statistics, and what was measured at so many of its checks at most."""
    measured = np.flatnonzero(np.isfinite(arrays["step"][index]))
    count = len(measured)
    if count > shown:
        measured = measured[np.linspace(0, count - 1, shown).round().astype(int)]
    names = {number: name for name, number in schema.STATUS.items()}
    return {
        "status": names[int(arrays["status"][index])],
        "end_step": rounded(arrays["end_step"][index]),
        "measured": count,
        "scheduled": bool(arrays["scheduled"][index]),
        "meets_another": bool(arrays["meets_another"][index]),
        "tests": {
            metric: rounded(arrays[metric][index])
            for metric in schema.TEST_METRICS
            if metric in arrays
        },
        "statistics": {name: rounded(values[index], NEVER) for name, values in statistics.items()},
        "checks": {
            **{name: rounded(arrays[name][index][measured]) for name in columns},
            **{name: rounded(arrays[name][index][measured].T) for name in RANK_COLUMNS},
        },
    }


def _definitions(tasks: Iterable[Mapping]) -> list[list[str]]:
    """Return what the page's words and signs mean, and their units."""
    entries = [
        ["λ₁, λ₂, …", "eigenvalue"],
        ["SAM edge", "sam_edge"],
        ["2/η", "gd_edge"],
        ["effective curvature", "effective_curvature"],
        ["training loss", "training_loss"],
        ["alignment of the gradient", "gradient_alignment"],
        ["alignment of the SAM gradient", "sam_gradient_alignment"],
        ["step", "step"],
        ["training time", "training_time"],
    ]
    metrics = dict.fromkeys(metric for task in tasks for metric in task["tests"])
    entries += [[metric.replace("_", " "), metric] for metric in metrics]
    found = [[words, _meaning(VARIABLES[name])] for words, name in entries]
    if any(task["minibatches"] for task in tasks):
        found += [[plain(panels.MINIBATCHES[name][0]), words] for name, words in STOCHASTIC.items()]
    found += [
        ["edge", "that of the update rule: the SAM edge, which is 2/η at ρ = 0, or its own"],
        ["λ_max, λ_min", "algebraically largest and smallest Hessian eigenvalue"],
        [
            "band of λ_max, λ_min",
            "from the end of the spectrum that was found to the bound beyond which nothing lies",
        ],
        [
            "bounds of Proposition 3",
            "where λ_max / SAM edge and −λ_min ρ/‖g‖ are both below 1, a step of SAM lowers the "
            "loss of the quadratic with the same gradient and Hessian",
        ],
        ["‖g‖", VARIABLES["gradient_norm"].long_name],
        ["late checks", f"those after the first {LATE:.0%} of a run's steps"],
    ]
    return found + [[name, STATISTICS[name].definition] for name in MAPPED]


def _meaning(variable: schema.Variable) -> str:
    """Return what a variable is, with its unit where it has one."""
    unit = "" if variable.units in ("", "1") else f" ({variable.units})"
    return variable.long_name + unit


def _downloads(figures: Sequence[str]) -> str:
    """Return the part of the page that links figures, by task; "" if there are none."""
    links: dict[str, list[str]] = {}
    for path in figures:
        task, label = described(PurePosixPath(path).stem)
        if task:
            link = f'<li><a href="{html.escape(path)}">{html.escape(label)}</a></li>'
            links.setdefault(task, []).append(link)
    if not links:
        return ""
    lists = "\n".join(
        f"<h3>{html.escape(task)}</h3>\n<ul>\n{chr(10).join(items)}\n</ul>"
        for task, items in links.items()
    )
    return (
        '<section class="about" aria-labelledby="downloads-title">\n<div>\n'
        '<h2 id="downloads-title">Figures to download</h2>\n'
        '<p class="hint">PDF files that lie beside this page.</p>\n'
        f"{lists}\n</div>\n</section>"
    )


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
