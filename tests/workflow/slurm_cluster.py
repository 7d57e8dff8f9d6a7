"""Run a command beside a Slurm of its own, and take that down again.

    python tests/workflow/slurm_cluster.py snakemake --workflow-profile profiles/slurm

A real Slurm with accounting: munge, MariaDB, slurmdbd, slurmctld and a slurmd for each of two
nodes, all on this machine, on loopback addresses, in a folder for temporary files. It needs root
and Debian's packages. The command finds it by ``SLURM_CONF``; exit status and output are the
command's. Whatever was started is ended by its process id, also when this program is interrupted.

The GPUs are numbers that Slurm counts and hands out; there is no device behind them.
"""

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from slurm_files import ACCOUNT, NODES, write_files

PACKAGES = "slurm-wlm slurmdbd munge mariadb-server"
PROGRAMS = (
    *("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd"),
    *("sbatch", "sacctmgr", "scancel", "scontrol", "sinfo", "squeue"),
)
SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
LONGEST = 60.0  # seconds that one step of coming up or going down may take


class ClusterError(Exception):
    """Slurm cannot be brought up here; says why."""


def missing() -> str | None:
    """Return why no Slurm can be brought up on this machine, None if one can."""
    if os.geteuid() != 0:
        return "bringing up a Slurm needs root"
    lacking = [name for name in PROGRAMS if shutil.which(name, path=SYSTEM_PATH) is None]
    if lacking:
        return f"no {', '.join(lacking)}; they come with Debian's packages {PACKAGES}"
    return None


class Cluster:
    """The daemons of one Slurm, in one folder.

    Parameters
    ----------
    folder
        Where configuration, state and logs go; a short path, because sockets lie there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "PATH": f"{folder}/bin{os.pathsep}{SYSTEM_PATH}",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self._daemons: list[tuple[str, subprocess.Popen]] = []

    def start(self) -> None:
        """Bring everything up and wait until both nodes take jobs.

        Raises
        ------
        ClusterError
            A daemon ended or did not answer in time; its log is in the message.
        """
        ports = _free_ports("controller", "database", "mariadb", *NODES)
        write_files(self.folder, ports)
        self._daemon(
            *("munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key"),
            *(f"--{kind}={self.folder}/munge.{suffix}" for kind, suffix in MUNGE_FILES.items()),
        )
        self._wait("munged", lambda: (self.folder / "munge.socket").exists())
        self._start_mariadb(ports["mariadb"])
        self._daemon("slurmdbd", "-D")
        self._wait("slurmdbd", lambda: self._answers("sacctmgr", "-n", "list", "cluster"))
        for entry in (["cluster", "samedge"], ["account", ACCOUNT], ["user", "root"]):
            more = [f"account={ACCOUNT}"] if entry[0] == "user" else []
            self.call("sacctmgr", "--immediate", "add", *entry, *more)
        self._daemon("slurmctld", "-D")
        self._wait("slurmctld", lambda: self._answers("scontrol", "ping"))
        for name in NODES:
            self._daemon("slurmd", "-D", "-N", name)
        self._wait("slurmd", self._idle)

    def call(self, *command: str) -> str:
        """Run a command of Slurm and return its output."""
        done = subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
        )
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)}: {done.stdout.strip()}")
        return done.stdout

    def stop(self) -> None:
        """End jobs and daemons, and wait until no process of theirs is left."""
        with contextlib.suppress(ClusterError, subprocess.TimeoutExpired):
            if self._daemons and self._daemons[-1][0] == "slurmd":
                self.call("scancel", "--full", "--signal=KILL", "--user=root")
        for _, daemon in reversed(self._daemons):
            _end([psutil.Process(daemon.pid)] if daemon.poll() is None else [])
            daemon.wait()
        # What daemons and jobs left behind has become this process's child.
        _end(psutil.Process().children(recursive=True))

    def _start_mariadb(self, port: int) -> None:
        data = f"--datadir={self.folder}/mysql"
        self.call("mariadb-install-db", "--no-defaults", data, "--user=root", "--skip-test-db")
        self._daemon(
            *("mariadbd", "--no-defaults", "--user=root", data, "--bind-address=127.0.0.1"),
            *(f"--port={port}", f"--socket={self.folder}/mysql.socket"),
            *(f"--pid-file={self.folder}/mysql.pid", f"--init-file={self.folder}/accounting.sql"),
        )
        self._wait("mariadbd", lambda: _listening(port))

    def _daemon(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.{len(self._daemons)}.log").open("wb") as log:
            daemon = subprocess.Popen(
                [name, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._daemons.append((name, daemon))

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST
        while not ready():
            ended = [daemon for _, daemon in self._daemons if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(
                    f"{path.name}: {line}"
                    for path in sorted(self.folder.glob("*.log"))
                    for line in path.read_text(errors="replace").splitlines()[-10:]
                )
                raise ClusterError(f"{name} did not come up within {LONGEST:g} s\n{logs}")
            time.sleep(0.2)

    def _answers(self, *command: str) -> bool:
        try:
            answer = self.call(*command)
        except (ClusterError, subprocess.TimeoutExpired):
            return False
        return "DOWN" not in answer

    def _idle(self) -> bool:
        states = self.call("sinfo", "--noheader", "--Node", "--format=%N %T").split("\n")
        return sorted(filter(None, states)) == [f"{name} idle" for name in NODES]


MUNGE_FILES = {
    "socket": "socket",
    "pid-file": "pid",
    "seed-file": "seed",
    "log-file": "log",
}


def _free_ports(*names: str) -> dict[str, int]:
    """Return a port of the loopback address for each name, all of them free at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


def _listening(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def _end(processes: Sequence[psutil.Process]) -> None:
    """Ask processes to end, and kill those that have not within ``LONGEST``."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=LONGEST / 4)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=LONGEST / 4)


def _adopt_orphans() -> None:
    """Let processes whose parent ended become this one's children, not init's (Linux)."""
    set_child_subreaper = 36  # PR_SET_CHILD_SUBREAPER of <linux/prctl.h>
    if ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0) != 0:
        raise ClusterError(f"prctl: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Have a Slurm while the context lasts. The process adopts orphans from then on.

    Raises
    ------
    ClusterError
        This machine cannot have one, or it did not come up.
    """
    reason = missing()
    if reason is not None:
        raise ClusterError(reason)
    _adopt_orphans()
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munge wants its socket where everybody can reach it
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longest", type=float, default=3600, help="seconds given to the command")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("needs a command to run beside Slurm, such as: sinfo")
    # An interruption is an exception, so that what is to be ended is ended.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with running() as cluster:
            return subprocess.run(
                arguments.command, env=cluster.environment, timeout=arguments.longest
            ).returncode
    except (ClusterError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
