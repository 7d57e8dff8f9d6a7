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
#: What a task has in common with the one that its runs start from.
IN_COMMON = ("kind", "dataset", "model", "loss")


def cross_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with references between the keys of a configuration, and with names."""
    yield from _duplicates("seeds", config["seeds"])
    yield from _duplicates("together.axes", config["together"]["axes"])
    for extra in ("density", "blocks", "way", "audit"):
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
    for name, family in config.get("families", {}).items():
        yield from _family_problems(f"families.{name}", family, config["tasks"])
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
        yield from _start_problems(f"{prefix}.start_from", task, config["tasks"])


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


def _start_problems(key: str, task: Mapping[str, Any], tasks: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with where the runs of a task start."""
    start = task.get("start_from")
    if start is None:
        return
    name = start["task"]
    if name not in tasks:
        yield (
            f"{key}.task: the configuration has no task '{name}'{did_you_mean(name, tasks)} "
            f"(it has: {', '.join(tasks)})"
        )
        return
    if _goes_round(task, tasks):
        yield f"{key}.task: found {name}, whose own runs start from this task's in the end"
        return
    other = tasks[name]
    different = [part for part in IN_COMMON if task[part] != other[part]]
    if different:
        yield (
            f"{key}.task: found {name}, of another {', '.join(different)}; a run goes on with "
            f"another eta, rho, update or batch_size, but with the same {', '.join(IN_COMMON)}"
        )
    for axis in ("eta", "rho"):
        given = start.get(axis)
        there = [settings.decimal_string(value) for value in other[axis]]
        for value in task[axis] if given is None else [given]:
            spelled = settings.decimal_string(value)
            if spelled not in there:
                which = f"{key}.{axis}" if given is not None else f"{key}: {axis}"
                yield (
                    f"{which}: found {spelled}, must be one of those of tasks.{name}, spelled "
                    f"alike: {', '.join(there)}; or name one of them as {key}.{axis}"
                )
                break
    steps, budget = other["budget"]["steps"], task["budget"]["steps"]
    if steps is not None and budget is not None and start["at"] * steps >= budget:
        yield (
            f"{key}.at: found {start['at']}, after {start['at'] * steps:.6g} steps of {name}, and "
            f"this task's budget.steps, which counts from their first, is {budget}; raise it"
        )


def _goes_round(task: Mapping[str, Any], tasks: Mapping[str, Any]) -> bool:
    """Tell whether a task's runs start from others that start from others, and so on for ever."""
    for _ in tasks:
        start = task.get("start_from")
        if start is None or start["task"] not in tasks:
            return False
        task = tasks[start["task"]]
    return True


def _family_problems(
    key: str, family: Mapping[str, Any], tasks: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what is wrong with the tasks of a family."""
    yield from _duplicates(f"{key}.tasks", family["tasks"])
    for name in family["tasks"]:
        if name not in tasks:
            yield (
                f"{key}.tasks: the configuration has no task '{name}'{did_you_mean(name, tasks)} "
                f"(it has: {', '.join(tasks)}); without it leave it out, or set {key}: null"
            )
        elif family["along"] == "batch_size" and tasks[name]["dataset"]["train_examples"] is None:
            yield (
                f"{key}.along: batch_size, and tasks.{name}.dataset.train_examples is null, so "
                "that nothing tells how many examples a full batch has; give their number"
            )
