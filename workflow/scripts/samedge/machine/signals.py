"""Signals that ask a process to end: noted when they come, answered between pieces of work.

A handler runs between any two instructions. One that raised might do so in a callback of JAX's
garbage collection, where an exception is dropped, and the signal with it. So this one only takes
note, and whatever takes long calls :func:`heed` between its pieces.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from samedge.base.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Signals come to a process: one note of it, however many runs are under way.
_came: int | None = None


@contextmanager
def noted() -> Iterator[None]:
    """Note signals while the context lasts.

    Only a process's main thread can do that; in another one, signals do what they did before.
    Of several signals the first one counts: a terminal sends SIGINT to every process at once, and
    a workflow manager SIGTERM on top of it. Contexts may be nested: the outermost ends the note,
    so that what came too late to be heeded in an inner one still is in the outer one.
    """
    global _came
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _note) for number in SIGNALS}
    outermost = _note not in before.values()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if outermost:
            _came = None


def heed() -> None:
    """Raise :class:`Interrupted` if a signal has come; called between pieces of long work."""
    if _came is not None:
        raise Interrupted(_came)


def _note(number: int, frame: FrameType | None) -> None:
    global _came
    del frame
    if _came is None:
        _came = number
