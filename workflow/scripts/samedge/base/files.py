"""Files that appear whole or not at all, their checksums, and locks that end with their process."""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from samedge.base.errors import UserError
from samedge.base.process import host, lives

SEAL = b"\nsamedge-sha256:"
HEX_DIGITS = 64

#: What a file of arrays says of itself.
Attributes = Mapping[str, str | bool | int]


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a hidden name beside ``path``, whose folder is made if need be, to write to.

    What was written there becomes ``path`` by renaming, once it is on the disk, so that ``path``
    is at any time absent, as it was, or whole; if the context is left by an error, it stays as it
    was. What a process of this machine that was killed has left of the same file is removed.
    An OSError names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{host()}-{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a text file so that it is at any time absent, as it was, or whole."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def require_file_path(path: Path, option: str) -> None:
    """Refuse a path at which no file can be written: a folder, or one below a file.

    Raises
    ------
    UserError
        Naming the ``option`` that has it.
    """
    if path.is_dir():
        raise UserError(f"{option}: {path} is a folder; name the file to write")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise UserError(f"{option}: {there} is no folder, and {path} would lie below it")


def seal(path: Path) -> None:
    """Append to a file the SHA-256 of its contents, after which its own format ends.

    HDF5, and so NetCDF, does not look beyond its own end; a program that changes such a file cuts
    the seal off.
    """
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(SEAL + digest.encode())


def check_seal(path: Path) -> bool:
    """Compare a file with its seal, if it has one; tell whether it has.

    Raises
    ------
    UserError
        If the file is not as it was when it was sealed.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) - len(SEAL) - HEX_DIGITS
        if size < 0:
            return False
        file.seek(size)
        sealed = file.read()
        if not sealed.startswith(SEAL):
            return False
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(min(size, 2**20)):
            digest.update(piece)
            size -= len(piece)
    if digest.hexdigest().encode() != sealed.removeprefix(SEAL):
        raise UserError(
            f"{path}: damaged, its contents do not have the SHA-256 at its end; delete it and run "
            "the workflow again"
        )
    return True


def checksum(arrays: Mapping[str, np.ndarray], attributes: Attributes) -> str:
    """Return the SHA-256 (hexadecimal) over names, types, shapes and contents, and attributes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    digest.update(json.dumps(dict(attributes), sort_keys=True).encode())
    return digest.hexdigest()


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
    written = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(host())}-(\d+)\.tmp")
    for candidate in path.parent.iterdir():
        found = written.fullmatch(candidate.name)
        if found and not lives(int(found[1])):
            candidate.unlink(missing_ok=True)
