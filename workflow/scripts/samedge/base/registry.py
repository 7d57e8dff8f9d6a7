"""Functions a configuration refers to by name: tasks, data sets, models, losses, update rules."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from samedge.base.components import PLACES, components, load
from samedge.base.errors import UserError, did_you_mean

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """A mapping from names to functions or classes, filled by a decorator.

    Of a sort of *components*, a key of :data:`samedge.base.components.PLACES`, each entry is
    registered by a file of its own, which is imported when the entry is looked up. Looking up an
    unknown name raises :class:`UserError` naming the nearest known one.

    Examples
    --------
    >>> SHAPES = Registry("shape")
    >>> @SHAPES.register("square")
    ... def area(side):
    ...     return side * side
    >>> SHAPES["square"](3)
    9
    """

    def __init__(self, sort: str) -> None:
        self.component = sort if sort in PLACES else None
        self.sort = PLACES[sort].sort if sort in PLACES else sort
        self._entries: dict[str, Entry] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._made: dict[tuple[str, str], Any] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Entry], Entry]:
        """Return a decorator that enters a function under ``name``; each name is taken once.

        ``facts`` are what else is to be known of it.
        """

        def enter(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"the {self.sort} '{name}' is registered twice")
            self._entries[name] = entry
            self._facts[name] = facts
            return entry

        return enter

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what was registered with an entry."""
        self[name]
        return self._facts[name]

    def made(self, name: str, settings: Mapping[str, Any]) -> Any:
        """Return what a function of the registry makes of its settings, as JSON has them.

        It is the same object for the same ones, so that what is compiled for it is found again.

        Raises
        ------
        UserError
            For a name that is unknown.
        TypeError, ValueError
            For settings that the function does not take, as it says.
        """
        function: Any = self[name]
        text = json.dumps(settings, sort_keys=True)
        if (name, text) not in self._made:
            self._made[name, text] = function(**json.loads(text))
        return self._made[name, text]

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries and self.component is not None:
            files = components(self.component)
            if name in files:
                load(files[name])
        if name not in self._entries:
            known = ", ".join(sorted(self))
            raise UserError(
                f"unknown {self.sort} '{name}'{did_you_mean(name, self)} (known: {known})"
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        files = () if self.component is None else components(self.component)
        return iter(dict.fromkeys([*files, *self._entries]))

    def __len__(self) -> int:
        return len(list(iter(self)))
