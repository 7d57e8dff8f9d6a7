"""Signals that ask a job to end: they are answered where nothing is lost by it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from samedge.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Notes that SIGTERM or SIGINT has come, and raises :class:`Interrupted` where it may.

    Of several signals the first one counts: a terminal sends SIGINT to every process at once, and
    a workflow manager SIGTERM on top of it.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._immediate = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note signals while the context lasts.

        Only a process's main thread can do that; in another one, signals do what they did before.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """While the context lasts, raise as soon as a signal comes, between two instructions."""
        self._immediate = True
        try:
            self.heed()
            yield
        finally:
            self._immediate = False

    def heed(self) -> None:
        """Raise :class:`Interrupted` if a signal has come."""
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        first = self.number is None
        self.number = self.number or number
        if first and self._immediate:
            raise Interrupted(number)
