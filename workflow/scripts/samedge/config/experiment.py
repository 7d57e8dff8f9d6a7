"""Read, merge and validate the configuration of an experiment; no JAX, no Snakemake."""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from samedge.base.errors import UserError, did_you_mean
from samedge.base.imports import FOLDERS
from samedge.base.registry import PACKAGE, declared, needed
from samedge.config import settings
from samedge.config.messages import as_yaml, key_path, violations
from samedge.curvature.limits import least_vectors

SCHEMA = Path(__file__).with_name("schema.yaml")

# Which file, or folder of files, registers what a key of a task names.
REGISTRIES = {
    "kind": "tasks/problems.py",
    **{f"{kind}.name": folder for kind, folder in FOLDERS.items()},
}

# YAML 1.1 reads 1e-3 as a string and 1.0e-3 as a number, and Snakemake's --config reads everything
# in a list or in braces as a string; what looks like a number or one of YAML's words is meant as
# that.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

# The parts of a task whose functions take settings.
WITH_SETTINGS = {"model", "update"}

#: What a configuration without these keys of ``curvature`` says.
LATER = {"ends": 0.05, "certify": 1}

WORDS = {"null": None, "true": True, "false": False}
WORD = re.compile("~|" + "|".join(f"{w}|{w.title()}|{w.upper()}" for w in WORDS))
# Keys whose values stay text even where they look like one of these.
NAMES = ("experiment", "name")


def load(paths: Sequence[Path]) -> settings.Experiment:
    """Read configuration files, each over the ones before it, and validate the whole.

    Raises
    ------
    UserError
        For a file that is missing or not YAML, or a configuration that :func:`validate` refuses.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not valid YAML: {error}") from error
        if not isinstance(values, dict):
            found = "nothing" if values is None else as_yaml(values)
            raise UserError(f"{path}: must hold keys and values, found {found}")
        merged = _merge(merged, values)
    return validate(merged, " + ".join(str(path) for path in paths))


def resolved(experiment: settings.Experiment) -> str:
    """Return the configuration of an experiment as JSON, which :func:`load` reads again."""
    values = dataclasses.asdict(experiment)
    values["experiment"] = values.pop("name")
    if values["container"] is None:
        del values["container"]
    for task in values["tasks"].values():
        # As numbers, spelled as they are: 1.0 stays 1.0, and so do the names of files.
        for key in ("eta", "rho"):
            task[key] = [json.loads(text) for text in task[key]]
        task["figure_rho"] = json.loads(task["figure_rho"])
    return json.dumps(values)


def validate(config: Mapping[str, Any], where: str = "configuration") -> settings.Experiment:
    """Check a merged configuration against the schema and its own cross-references.

    Parameters
    ----------
    config
        The plain mapping, as YAML gives it.
    where
        Name of the file or files, for messages.

    Raises
    ------
    UserError
        Naming every key that is wrong, what was found there, and what would be right.
    """
    plain = _without_removed(_plain(config))
    problems = [*_malformed(plain, ())] or [*_schema_problems(plain)]
    if not problems:
        problems = [*_cross_problems(plain)]
    if problems:
        raise UserError("\n  ".join([f"{where} is not a valid experiment:", *problems]))
    return _experiment(plain)


def _merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings as Snakemake's --configfile does: lists are replaced whole."""
    merged = dict(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _without_removed(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out tasks, and settings of models and update rules, that are null.

    Merging cannot take a key away: this is how an overlay drops a task, or the settings of a
    model or rule that it replaces by another.
    """
    if not isinstance(config.get("tasks"), dict):
        return config
    tasks = {name: task for name, task in config["tasks"].items() if task is not None}
    for name, task in tasks.items():
        if isinstance(task, dict):
            parts = WITH_SETTINGS & task.keys()
            tasks[name] = task | {part: _without_null_settings(task[part]) for part in parts}
    return config | {"tasks": tasks}


def _without_null_settings(part: Any) -> Any:
    match part:
        case {"settings": {**options}}:
            kept = {key: value for key, value in options.items() if value is not None}
            return part | {"settings": kept}
    return part


def _plain(value: Any) -> Any:
    """Return nested values with text that stands for a number, null or a truth value as that."""
    if isinstance(value, Mapping):
        return {key: item if key in NAMES else _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdecimal() else float(value)
    if isinstance(value, str) and WORD.fullmatch(value):
        return WORDS.get(value.lower())
    return value


def _malformed(value: Any, path: tuple[Any, ...]) -> Iterator[str]:
    """Yield what YAML can say and JSON cannot: keys that are no text, infinity, not-a-number."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{key_path(path)}: the key {as_yaml(key)} is not text; put it in quotes"
            yield from _malformed(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _malformed(item, (*path, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key_path(path)}: found {value}, must be a finite number"


def _schema_problems(config: Mapping[str, Any]) -> Iterator[str]:
    yield from violations(config, yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))


def _cross_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what no schema can say: references between keys."""
    yield from _duplicates("seeds", config["seeds"])
    yield from _duplicates("together.axes", config["together"]["axes"])
    for extra in ("density", "audit"):
        yield from _shares_problems(f"{extra}.at", config[extra]["at"])
    products, wanted = config["curvature"]["max_products"], config["curvature"]["eigenvalues"]
    if products < 2 * wanted:
        yield (
            f"curvature.max_products: found {products}, must be at least {2 * wanted}, twice "
            "curvature.eigenvalues"
        )
    vectors, least = config["curvature"]["max_vectors"], least_vectors(wanted)
    if vectors < least:
        yield (
            f"curvature.max_vectors: found {vectors}, must be at least {least} for "
            f"{wanted} curvature.eigenvalues"
        )
    for name, task in config["tasks"].items():
        prefix = f"tasks.{name}"
        yield from _duplicates(f"{prefix}.eta", task["eta"])
        yield from _duplicates(f"{prefix}.rho", task["rho"])
        yield from _float32_problems(prefix, task)
        if task["figure_rho"] not in task["rho"]:
            radii = ", ".join(map(str, task["rho"]))
            yield f"{prefix}.figure_rho: found {task['figure_rho']}, must be one of rho: {radii}"
        yield from _name_problems(prefix, task)
        yield from _schedule_problems(prefix, task["budget"], task["checks"])
        yield from _batch_problems(prefix, task)


def _duplicates(key: str, values: Sequence[int | float | str]) -> Iterator[str]:
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield f"{key}: {value} is listed {values.count(value)} times; list each value once"


def _float32_problems(prefix: str, task: Mapping[str, Any]) -> Iterator[str]:
    places = {f"eta[{place}]": eta for place, eta in enumerate(task["eta"])}
    places |= {f"rho[{place}]": rho for place, rho in enumerate(task["rho"])}
    places["update.epsilon"] = task["update"]["epsilon"]
    for key, value in places.items():
        problem = settings.float32_problem(value, zero=not key.startswith("eta"))
        if problem:
            yield f"{prefix}.{key}: {problem}"


def _shares_problems(key: str, shares: Sequence[int | float]) -> Iterator[str]:
    yield from _duplicates(key, shares)
    if list(shares) != sorted(shares):
        ascending = ", ".join(map(str, sorted(shares)))
        yield f"{key}: found {as_yaml(shares)}, must be in ascending order: {ascending}"


def _name_problems(prefix: str, task: Mapping[str, Any]) -> Iterator[str]:
    for key, module in REGISTRIES.items():
        name: Any = task
        for part in key.split("."):
            name = name[part]
        known = declared(PACKAGE / module)
        if name not in known:
            hint = did_you_mean(name, known)
            yield (
                f"{prefix}.{key}: unknown name '{name}'{hint} (registered in "
                f"{module}: {', '.join(known)})"
            )
        elif (part := key.partition(".")[0]) in WITH_SETTINGS:
            given = task[part].get("settings", {})
            wanted = needed(PACKAGE / module)[name]
            yield from _setting_problems(f"{prefix}.{part}.settings", given, known[name], wanted)


def _setting_problems(
    key: str, given: Mapping[str, Any], accepted: Sequence[str], wanted: Sequence[str]
) -> Iterator[str]:
    """Yield settings that a function does not take, and such that it lacks."""
    for option in given:
        if option not in accepted:
            known = ", ".join(accepted) or "none, for lack of keyword-only arguments"
            hint = did_you_mean(option, accepted) or f"; known: {known}"
            yield f"{key}: unknown key '{option}'{hint}"
    missing = [option for option in wanted if option not in given]
    if missing:
        yield f"{key}: missing {', '.join(missing)}"


def _schedule_problems(
    prefix: str, budget: Mapping[str, Any], checks: Mapping[str, Any]
) -> Iterator[str]:
    if budget["steps"] is None and budget["hours"] is None:
        yield f"{prefix}.budget: steps and hours are both null; give at least one"
    spacing = checks["spacing"]
    idle = "count" if spacing == "time" else "minutes"
    if checks[idle] is not None:
        yield (
            f"{prefix}.checks.{idle}: {checks[idle]} has no effect with spacing: {spacing}; set "
            f"{idle}: null, or another spacing"
        )
    if spacing == "time":
        if checks["minutes"] is None:
            yield f"{prefix}.checks.minutes: null, but spacing: time needs minutes between checks"
        return
    if checks["count"] is None:
        yield f"{prefix}.checks.count: null, but spacing: {spacing} needs a count"
    elif budget["steps"] is None:
        yield (
            f"{prefix}.budget.steps: null, but spacing: {spacing} is in steps; give steps, "
            "or spacing: time"
        )
    elif checks["count"] > budget["steps"] + 1:
        yield (
            f"{prefix}.checks.count: {checks['count']} checks do not fit {budget['steps']} steps "
            f"(at most {budget['steps'] + 1})"
        )


def _batch_problems(prefix: str, task: Mapping[str, Any]) -> Iterator[str]:
    examples, batch, microbatch = (
        task["dataset"]["train_examples"] if task["kind"] == "images" else None,
        task["batch_size"],
        task["microbatch"],
    )
    if examples is not None and batch is not None and batch > examples:
        yield f"{prefix}.batch_size: {batch} is more than dataset.train_examples, {examples}"
    whole = batch or examples
    if microbatch is not None and whole is not None and whole % microbatch:
        origin = "batch_size" if batch else "dataset.train_examples"
        yield (
            f"{prefix}.microbatch: {microbatch} does not divide the batch of {whole} examples, "
            f"{origin}"
        )


def _experiment(config: Mapping[str, Any]) -> settings.Experiment:
    config = dict(config)
    config["name"] = config.pop("experiment")
    config["seeds"] = tuple(config["seeds"])
    tasks = {}
    for name, task in config["tasks"].items():
        rhos = tuple(settings.decimal_string(rho) for rho in task["rho"])
        drawn = Decimal(str(task["figure_rho"]))
        tasks[name] = settings.build(
            settings.TaskSettings,
            task
            | {
                "eta": tuple(settings.decimal_string(eta) for eta in task["eta"]),
                "rho": rhos,
                "figure_rho": next(rho for rho in rhos if Decimal(rho) == drawn),
            },
        )
    parts = {
        "together": settings.TogetherSettings,
        "checkpoints": settings.CheckpointSettings,
        "curvature": settings.CurvatureSettings,
        "density": settings.DensitySettings,
        "audit": settings.AuditSettings,
        "divergence": settings.DivergenceSettings,
        "figures": settings.FigureSettings,
    }
    config["curvature"] = LATER | config["curvature"]
    built = {key: settings.build(cls, config[key]) for key, cls in parts.items()}
    return settings.Experiment(**(config | built | {"tasks": tasks}))
