"""Read, merge and validate the configuration of an experiment; no JAX, no Snakemake."""

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from samedge.base.components import PLUGIN_FOLDER, use_plugins
from samedge.base.errors import UserError
from samedge.config import parts, settings
from samedge.config.messages import as_yaml, key_path, violations
from samedge.config.references import WITH_SETTINGS, cross_problems

SCHEMA = Path(__file__).with_name("schema.yaml")

# YAML 1.1 reads 1e-3 as a string and 1.0e-3 as a number, and Snakemake's --config reads everything
# in a list or in braces as a string; what looks like a number or one of YAML's words is meant as
# that.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

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
        merged = _merge(merged, _read(path))
    where = " + ".join(str(path) for path in paths)
    return validate(merged, where, paths)


def _beside(paths: Sequence[Path | str], config: Mapping[str, Any], *keys: str) -> Path:
    """Return the folder to which paths under a key of a merged configuration are relative.

    It is that of the last of these files, in the order in which they were merged, which has the key
    as it is in the whole; where none has, as with ``--config``, the one that is worked in.
    """
    value = _at(config, keys)
    for path in reversed(paths):
        if _at(_read(path), keys) == value:
            return Path(path).parent
    return Path()


def _at(config: Any, keys: Sequence[str]) -> Any:
    """Return the value under a key in a key, and so on; None where there is none."""
    for key in keys:
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _read(path: Path | str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        found = "nothing" if values is None else as_yaml(values)
        raise UserError(f"{path}: must hold keys and values, found {found}")
    return values


def resolved(experiment: settings.Experiment) -> str:
    """Return the configuration of an experiment as JSON, which :func:`load` reads again."""
    values = dataclasses.asdict(experiment)
    values["experiment"] = values.pop("name")
    if values["container"] is None:
        del values["container"]
    # Where an archive has it, beside the configuration.
    if values.pop("claims") is not None:
        values["claims"] = settings.CLAIMS_FILE
    del values["blocks"]["patterns"]  # which are each task's
    if not values["blocks"]["at"]:
        del values["blocks"]
    if not values["stochastic"]["batches"]:
        del values["stochastic"]
    if not values["way"]["at"]:
        del values["way"]
    if not values["families"]:
        del values["families"]
    del values["data_files"]
    for task in values["tasks"].values():
        if task["dataset"]["file"] is None:
            del task["dataset"]["file"]
        if not task["blocks"]:
            del task["blocks"]
        start = task["start_from"]
        if start is None:
            del task["start_from"]
        else:
            given = {key: start[key] for key in ("eta", "rho") if start[key] is not None}
            task["start_from"] = {key: start[key] for key in ("task", "at")} | {
                key: json.loads(text) for key, text in given.items()
            }
    # Where an archive has them, beside the configuration.
    values["plugins"] = [f"{PLUGIN_FOLDER}/{path.name}" for path in values["plugins"]]
    if not values["plugins"]:
        del values["plugins"]
    for task in values["tasks"].values():
        # As numbers, spelled as they are: 1.0 stays 1.0, and so do the names of files.
        for key in ("eta", "rho"):
            task[key] = [json.loads(text) for text in task[key]]
        task["figure_rho"] = json.loads(task["figure_rho"])
    return json.dumps(values)


def validate(
    config: Mapping[str, Any], where: str = "configuration", paths: Sequence[Path | str] = ()
) -> settings.Experiment:
    """Check a merged configuration against the schema and its own cross-references.

    What its plugins register is known from then on, see
    :func:`samedge.base.components.use_plugins`.

    Parameters
    ----------
    config
        The plain mapping, as YAML gives it.
    where
        Name of the file or files, for messages.
    paths
        The files that it was merged from, in this order: paths of plugins and data in it are
        relative to the one that names them, or else to the folder that is worked in.

    Raises
    ------
    UserError
        Naming every key that is wrong, what was found there, and what would be right.
    """
    plain = _without_removed(_plain(config))
    problems = [*_malformed(plain, ())] or [*_schema_problems(plain)]
    plugins = []
    if not problems:
        if plain.get("plugins"):
            folder = _beside(paths, config, "plugins")
            plugins = [folder / path for path in plain["plugins"]]
        try:
            use_plugins(plugins)
        except UserError as error:
            problems = [f"plugins: {error}"]
    claims = None
    if not problems:
        problems = [*cross_problems(plain)]
        if plain.get("claims"):
            claims = (_beside(paths, config, "claims") / plain["claims"]).resolve()
            problems += _claims_problems(claims)
    if problems:
        raise UserError("\n  ".join([f"{where} is not a valid experiment:", *problems]))
    files = {
        name: _beside(paths, config, "tasks", name, "dataset", "file") / task["dataset"]["file"]
        for name, task in plain["tasks"].items()
        if "file" in task["dataset"]
    }
    return _experiment(
        plain
        | {
            "claims": claims,
            "plugins": tuple(path.resolve() for path in plugins),
            "data_files": {name: path.resolve() for name, path in files.items()},
        }
    )


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
            named = WITH_SETTINGS & task.keys()
            tasks[name] = task | {part: _without_null_settings(task[part]) for part in named}
    return config | {"tasks": tasks} | _without_null_families(config)


def _without_null_families(config: Mapping[str, Any]) -> dict[str, Any]:
    match config:
        case {"families": {**families}}:
            kept = {name: family for name, family in families.items() if family is not None}
            return {"families": kept}
    return {}


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


def _claims_problems(path: Path) -> Iterator[str]:
    """Yield why a table of claims cannot be read; what is in it is looked at by who judges."""
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        yield f"claims: {path}: cannot be read ({error.strerror})"
    except ValueError as error:
        yield f"claims: {path}: no TOML: {error}"


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
            }
            | _start(task),
        )
    sections = {
        "together": parts.TogetherSettings,
        "checkpoints": parts.CheckpointSettings,
        "curvature": parts.CurvatureSettings,
        "density": parts.DensitySettings,
        "blocks": parts.BlockSettings,
        "stochastic": parts.StochasticSettings,
        "way": parts.WaySettings,
        "audit": parts.AuditSettings,
        "divergence": parts.DivergenceSettings,
        "figures": parts.FigureSettings,
    }
    config["curvature"] = LATER | config["curvature"]
    # Those that may be left out have a default for everything in them.
    built = {key: settings.build(cls, config.get(key, {})) for key, cls in sections.items()}
    families = {
        name: settings.build(parts.FamilySettings, family)
        for name, family in config.get("families", {}).items()
    }
    return settings.Experiment(**(config | built | {"tasks": tasks, "families": families}))


def _start(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the runs of a task start from, its numbers as the grid spells them."""
    start = task.get("start_from")
    if start is None:
        return {}
    given = {key: start[key] for key in ("eta", "rho") if start.get(key) is not None}
    spelled = {key: settings.decimal_string(value) for key, value in given.items()}
    return {"start_from": start | spelled}
