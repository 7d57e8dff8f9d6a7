"""Components: what a configuration refers to by name, each registered by a file.

A data set, a model, a loss, an update rule or a kind of task is a function under a decorator such
as ``@MODELS.register("my_model")``. Its file lies in a folder of the package, or is a *plugin*, a
file of the user's own that a configuration names. What a file registers is read from its source
without importing it, and so without JAX; it is imported when a job looks the component up.
"""

import argparse
import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from samedge.base.errors import UserError

PACKAGE = Path(__file__).parents[1]
#: The folder of plugins among the results, and in an archive.
PLUGIN_FOLDER = "plugins"


@dataclass(frozen=True)
class Place:
    """Where components of one sort are registered.

    Attributes
    ----------
    sort
        What messages call one.
    files
        A folder of the package.
    registry
        The name of their registry in the sources.
    """

    sort: str
    files: str
    registry: str


#: By what a configuration calls them.
PLACES: Mapping[str, Place] = {
    "kind": Place("kind of task", "tasks/kinds", "KINDS"),
    "dataset": Place("data set", "data/sets", "DATASETS"),
    "model": Place("model", "tasks/models", "MODELS"),
    "loss": Place("loss", "tasks/losses", "LOSSES"),
    "update": Place("update rule", "updates/rules", "RULES"),
    "schedule": Place("schedule", "updates/schedules", "SCHEDULES"),
}

#: Of one function: its settings, and whether each has a default.
Settings = Mapping[str, bool]

_plugins: list[Path] = []


def use_plugins(paths: Sequence[Path]) -> None:
    """Let what these files register be known from now on, and nothing of earlier ones.

    Raises
    ------
    UserError
        For a file that is missing or no Python, that registers nothing, or a name that the package
        or another of the files has already, and for two files of one name.
    """
    files: dict[str, Path] = {}
    origins = {
        (sort, name): f"the package, in {file.relative_to(PACKAGE)}"
        for sort in PLACES
        for name, file in _of_the_package(sort).items()
    }
    for path in map(Path, paths):
        if path.stem in files:
            raise UserError(
                f"{path}: another plugin has the name {path.name}, {files[path.stem]}; rename one"
            )
        files[path.stem] = path
        for key in _registered_by(path):
            if key in origins:
                sort, name = key
                raise UserError(
                    f"{path}: registers the {PLACES[sort].sort} '{name}', which is registered by "
                    f"{origins[key]} already; give it another name"
                )
            origins[key] = str(path)
    _plugins[:] = [path.resolve() for path in files.values()]


def add_plugins_option(parser: argparse.ArgumentParser) -> None:
    """Let a command line name plugins."""
    parser.add_argument(
        "--plugins",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="files of your own that register components which the run needs",
    )


def components(sort: str) -> dict[str, Path]:
    """Return the file of every component of a sort, by name: of the package, and of plugins."""
    found = _of_the_package(sort)
    for path in _plugins:
        found |= {name: path for name in _declared_as(path, sort)}
    return found


def settings_of(sort: str) -> dict[str, Settings]:
    """Return the settings of every component of a sort, by name: keyword-only arguments."""
    return {name: _declared_as(file, sort)[name] for name, file in components(sort).items()}


def plugins_of(**named: str) -> list[Path]:
    """Return the plugins that components come from, given their names by sort."""
    files = {components(sort).get(name) for sort, name in named.items()}
    return [path for path in _plugins if path in files]


def plugin_checksums() -> dict[str, str]:
    """Return the SHA-256 (hexadecimal) of every plugin in use, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in _plugins}


def load(file: Path) -> None:
    """Import the file of a component, once.

    Raises
    ------
    UserError
        If a plugin does not import; the message has the line and the error.
    """
    if file.is_relative_to(PACKAGE):
        importlib.import_module(module_name(file))
        return
    name = f"samedge_plugin_{file.stem}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(file)
        ]
        where = f"{file}, line {lines[-1]}" if lines else str(file)
        raise UserError(
            f"{where}: the plugin cannot be imported: {type(error).__name__}: {error}"
        ) from error


def module_name(file: Path) -> str:
    """Return the dotted name of a file of the package."""
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)


def declared(file: Path) -> Mapping[tuple[str, str], Settings]:
    """Read what a file registers, by registry and name, without importing it.

    Raises
    ------
    SyntaxError, OSError, UnicodeDecodeError
        If it is no Python, or cannot be read.
    """
    return _declared(file, file.stat().st_mtime_ns)


def _of_the_package(sort: str) -> dict[str, Path]:
    files = sorted((PACKAGE / PLACES[sort].files).glob("*.py"))
    return {name: file for file in files for name in _declared_as(file, sort)}


def _declared_as(file: Path, sort: str) -> dict[str, Settings]:
    """Return what a file registers as components of a sort."""
    registry = PLACES[sort].registry
    return {name: found for (by, name), found in declared(file).items() if by == registry}


def _registered_by(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the sort and the name of every component that a plugin registers."""
    try:
        found = declared(path)
    except OSError as error:
        raise UserError(f"{path}: the plugin cannot be read ({error.strerror})") from error
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(f"{path}{line}: the plugin is not valid Python: {error}") from error
    sorts = {place.registry: sort for sort, place in PLACES.items()}
    known = [(sorts[registry], name) for registry, name in found if registry in sorts]
    if not known:
        raise UserError(
            f"{path}: the plugin registers nothing; it needs a function under a decorator such as "
            f'@MODELS.register("my_model"), of one of {", ".join(sorts)}'
        )
    yield from known


@cache
def _declared(source: Path, changed: int) -> Mapping[tuple[str, str], Settings]:
    """Read a file once for as long as it does not change."""
    del changed
    found: dict[tuple[str, str], Settings] = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"), filename=str(source))):
        for decorator in getattr(node, "decorator_list", ()):
            match decorator:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id=registry) | ast.Attribute(attr=registry), attr="register"
                    ),
                    args=[ast.Constant(value=str(name))],
                ):
                    if (registry, name) in found:
                        raise ValueError(f"{registry} has '{name}' twice")
                    found[registry, name] = _settings(getattr(node, "args", None))
    return found


def _settings(arguments: ast.arguments | None) -> Settings:
    """Return the keyword-only arguments of a function, and whether each has a default."""
    if arguments is None:  # it is a class
        return {}
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {argument.arg: default is not None for argument, default in pairs}
