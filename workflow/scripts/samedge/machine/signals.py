"""Signals that ask a process to end: recorded when they come, answered between pieces of work.

A handler runs between any two instructions. One that raised might do so in a callback of JAX's
garbage collection, where an exception is dropped, and the signal with it. So this one only records
the signal, and whatever takes long calls :func:`raise_if_signalled` between its pieces.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from samedge.base.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Signals come to a process: one record of it, however many runs are under way.
_received: int | None = None


@contextmanager
def listening() -> Iterator[None]:
    """Record signals while the context lasts.

    Only a process's main thread can do that; in another one, signals do what they did before.
    Of several signals the first one counts: a terminal sends SIGINT to every process at once, and
    a workflow manager SIGTERM on top of it. Contexts may be nested: the outermost clears the
    record, so that what came too late to be answered in an inner one is answered in the outer one.
    """
    global _received
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _record) for number in SIGNALS}
    outermost = _record not in before.values()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if outermost:
            _received = None


def raise_if_signalled() -> None:
    """Raise :class:`Interrupted` if a signal has come; called between pieces of long work."""
    if _received is not None:
        raise Interrupted(_received)


def _record(number: int, frame: FrameType | None) -> None:
    global _received
    del frame
    if _received is None:
        _received = number
