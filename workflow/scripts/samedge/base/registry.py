"""Functions a configuration refers to by name: tasks, data sets, models, losses, update rules."""

import ast
import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from samedge.base.errors import UserError, did_you_mean

PACKAGE = Path(__file__).parents[1]

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """A mapping from names to functions or classes, filled by a decorator.

    With a folder of the package its entries are *components*: each is registered by a file there,
    which is imported when the entry is looked up. Looking up an unknown name raises
    :class:`UserError` naming the nearest known one.

    Examples
    --------
    >>> SHAPES = Registry("shape")
    >>> @SHAPES.register("square")
    ... def area(side):
    ...     return side * side
    >>> SHAPES["square"](3)
    9
    """

    def __init__(self, kind: str, folder: str | None = None) -> None:
        self.kind = kind
        self.folder = folder
        self._entries: dict[str, Entry] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Entry], Entry]:
        """Return a decorator that enters a function under ``name``; each name is taken once.

        ``facts`` are what else is to be known of it.
        """

        def enter(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"the {self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            self._facts[name] = facts
            return entry

        return enter

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what was registered with an entry."""
        self[name]
        return self._facts[name]

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries and self.folder is not None:
            files = components(self.folder)
            if name in files:
                importlib.import_module(module_name(files[name]))
        if name not in self._entries:
            known = ", ".join(sorted(self))
            raise UserError(
                f"unknown {self.kind} '{name}'{did_you_mean(name, self)} (known: {known})"
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        files = () if self.folder is None else components(self.folder)
        return iter(dict.fromkeys([*files, *self._entries]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def module_name(file: Path) -> str:
    """Return the dotted name of a file of the package."""
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)


def components(folder: str) -> dict[str, Path]:
    """Return the file of every component that a folder of the package registers, by name."""
    files = sorted((PACKAGE / folder).glob("*.py"))
    return {name: file for file in files for name in declared(file)}


def declared(source: Path) -> dict[str, tuple[str, ...]]:
    """Read what a file, or a folder's files, register, without importing (and so without JAX).

    Returns the registered names, each with the keyword-only arguments of its function: the
    settings that a configuration may give it.
    """
    return {name: tuple(settings) for name, settings in _all_declared(source).items()}


def needed(source: Path) -> dict[str, tuple[str, ...]]:
    """Read likewise which of the settings have no default."""
    return {
        name: tuple(setting for setting, has_default in settings.items() if not has_default)
        for name, settings in _all_declared(source).items()
    }


def _all_declared(source: Path) -> dict[str, Mapping[str, bool]]:
    """Return by name, and by setting, whether there is a default."""
    files = sorted(source.glob("*.py")) if source.is_dir() else [source]
    return {
        name: settings
        for file in files
        for name, settings in _declared(file, file.stat().st_mtime_ns).items()
    }


@cache
def _declared(source: Path, changed: int) -> Mapping[str, Mapping[str, bool]]:
    """Read a file once for as long as it does not change."""
    del changed
    names: dict[str, Mapping[str, bool]] = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        for decorator in getattr(node, "decorator_list", ()):
            match decorator:
                case ast.Call(
                    func=ast.Attribute(attr="register"), args=[ast.Constant(value=str(name))]
                ):
                    names[name] = _settings(getattr(node, "args", None))
    return names


def _settings(arguments: ast.arguments | None) -> dict[str, bool]:
    """Return the keyword-only arguments of a function, and whether each has a default."""
    if arguments is None:  # it is a class
        return {}
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {argument.arg: default is not None for argument, default in pairs}
