"""What no schema can say of a configuration: its names, and what one key says of another."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from samedge.base.components import PLACES, settings_of
from samedge.base.errors import did_you_mean
from samedge.config import settings
from samedge.config.messages import as_yaml
from samedge.curvature.limits import least_vectors

#: The parts of a task whose functions take settings.
WITH_SETTINGS = {"model", "update", "schedule"}


def cross_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with references between the keys of a configuration, and with names."""
    yield from _duplicates("seeds", config["seeds"])
    yield from _duplicates("together.axes", config["together"]["axes"])
    for extra in ("density", "blocks", "audit"):
        yield from _shares_problems(f"{extra}.at", config.get(extra, {}).get("at", []))
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
        yield from _pattern_problems(f"{prefix}.blocks", task.get("blocks", {}))
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
    for sort, place in PLACES.items():
        if sort == "schedule":
            part, key = task["update"].get("schedule"), "update.schedule"
            if part is None:
                continue
        else:
            part, key = task[sort], sort
        name, name_key = (part, key) if sort == "kind" else (part["name"], f"{key}.name")
        known = settings_of(sort)
        if sort == "dataset":
            name, colon, argument = name.partition(":")
            yield from _dataset_problems(prefix, task["dataset"], name, bool(colon), argument)
        if name not in known:
            hint = did_you_mean(name, known)
            yield (
                f"{prefix}.{name_key}: unknown name '{name}'{hint} (registered in "
                f"{place.files}: {', '.join(known)})"
            )
        elif sort in WITH_SETTINGS:
            given = part.get("settings", {})
            yield from _setting_problems(f"{prefix}.{key}.settings", given, known[name])


def _dataset_problems(
    prefix: str, dataset: Mapping[str, Any], name: str, colon: bool, argument: str
) -> Iterator[str]:
    """Yield what is wrong with what comes with the name of a data set."""
    key = f"{prefix}.dataset"
    if name == "tfds" and not argument:
        yield f"{key}.name: found '{dataset['name']}', must name a data set, as tfds:fashion_mnist"
    if name != "tfds" and colon:
        yield f"{key}.name: found '{dataset['name']}', and only tfds: takes a name after a colon"
    if name == "arrays" and "file" not in dataset:
        yield f"{key}: missing file, the .npz that holds the arrays"
    if name != "arrays" and "file" in dataset:
        yield f"{key}.file: has no effect with the data set {name}; only arrays are read from one"


def _setting_problems(
    key: str, given: Mapping[str, Any], accepted: Mapping[str, bool]
) -> Iterator[str]:
    """Yield settings that a function does not take, and such that it lacks.

    ``accepted`` says of each whether it has a default.
    """
    for option in given:
        if option not in accepted:
            known = ", ".join(accepted) or "none, for lack of keyword-only arguments"
            hint = did_you_mean(option, accepted) or f"; known: {known}"
            yield f"{key}: unknown key '{option}'{hint}"
    missing = [name for name, default in accepted.items() if not default and name not in given]
    if missing:
        yield f"{key}: missing {', '.join(missing)}"


def _pattern_problems(key: str, patterns: Mapping[str, str]) -> Iterator[str]:
    for name, pattern in patterns.items():
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"{key}.{name}: {pattern!r} is no regular expression: {error}"


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
        task["dataset"]["train_examples"] if task["kind"] in ("images", "regression") else None,
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
