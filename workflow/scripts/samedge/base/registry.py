"""Functions a configuration refers to by name: tasks, data sets, models, losses, update rules."""

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from samedge.base.errors import UserError, nearest

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """A mapping from names to functions or classes, filled by a decorator.

    Looking up an unknown name raises :class:`UserError` naming the nearest known one.

    Examples
    --------
    >>> SHAPES = Registry("shape")
    >>> @SHAPES.register("square")
    ... def area(side):
    ...     return side * side
    >>> SHAPES["square"](3)
    9
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Return a decorator that enters a function under ``name``; each name is taken once."""

        def enter(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"the {self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            known = ", ".join(sorted(self._entries))
            raise UserError(
                f"unknown {self.kind} '{name}'{nearest(name, self._entries)} (known: {known})"
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def declared(source: Path) -> dict[str, tuple[str, ...]]:
    """Read what a module registers, without importing it (and thus without importing JAX).

    Returns the registered names, each with the keyword-only arguments of its function: the
    settings that a configuration may give it.
    """
    names = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        for decorator in getattr(node, "decorator_list", ()):
            match decorator:
                case ast.Call(func=ast.Attribute(attr="register"), args=[ast.Constant(value=name)]):
                    arguments = getattr(node, "args", None)
                    names[name] = tuple(a.arg for a in arguments.kwonlyargs) if arguments else ()
    return names
