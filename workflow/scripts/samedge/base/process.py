"""Processes: the one that plans and starts jobs, and which of this machine still live."""

import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessMark:
    """What tells a process from every other one, also from one that has its id later.

    Attributes
    ----------
    host
        The machine's name, for people.
    place
        Where the id is one of a process: the boot of a machine and the name space of ids, where
        the system tells them, else the machine's name.
    pid
        The id.
    born
        When it began, in the system's ticks since the boot; None where the system does not tell.
    """

    host: str
    place: str
    pid: int
    born: int | None

    @classmethod
    def own(cls) -> "ProcessMark":
        """Return the mark of this process."""
        return cls(host(), _place(), os.getpid(), _born(os.getpid()))

    def lives(self) -> bool | None:
        """Tell whether the process still runs, None if it is not one of this machine's."""
        if self.place != _place():
            return None
        born = _born(self.pid)
        return lives(self.pid) and (None in (born, self.born) or born == self.born)


def put_python_first() -> None:
    """Let whatever this process starts find the Python that runs it first on the PATH."""
    folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])


def host() -> str:
    """Return the machine's name, without its domain."""
    return socket.gethostname().partition(".")[0]


def lives(pid: int) -> bool:
    """Tell whether this machine has a process of an id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _place() -> str:
    with suppress(OSError):
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    return host()


def _born(pid: int) -> int | None:
    """Return when a process began: None where that is not told, -1 if it has ended already."""
    try:
        # The name, in parentheses, may have any character in it.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
