"""Files that appear whole or not at all, and locks that end with the process that holds them."""

import fcntl
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a hidden name beside ``path``, whose folder is made if need be, to write to.

    What was written there becomes ``path`` by renaming, once it is on the disk, so that ``path``
    is at any time absent, as it was, or whole; if the context is left by an error, it stays as it
    was. What a process of this machine that was killed has left of the same file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: str | os.PathLike, waiting: Callable[[], None]) -> Iterator[bool]:
    """Hold the lock of a file, which is made if need be, while the context lasts.

    Where another process holds it, ``waiting`` is called once, and then the end of that process,
    or of its context, is waited for. Yields whether it was so. The file may be removed within.
    """
    path = Path(path)
    waited = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        if not take_lock(file):
            if not waited:
                waiting()
            waited = True
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, path):
            break
        file.close()  # its last holder has removed it
    with file:
        yield waited


def take_lock(file: BinaryIO) -> bool:
    """Lock an open file against other processes, if none has; it is freed when it is closed.

    Where the file system knows no locks, it counts as taken by nobody.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_leftovers(path: Path) -> None:
    written = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(_host())}-(\d+)\.tmp")
    for candidate in path.parent.iterdir():
        found = written.fullmatch(candidate.name)
        if found and not _lives(int(found[1])):
            candidate.unlink(missing_ok=True)


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True
