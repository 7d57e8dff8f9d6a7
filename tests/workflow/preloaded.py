"""Snakemake in processes that begin with it imported, which is most of what a plan takes.

One process imports Snakemake, its plugins and two libraries that every plan needs, nothing of this
project, and forks for every command; what a command does from there on is what
``python -m snakemake`` does.
"""

import atexit
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


@cache
def server() -> subprocess.Popen:
    """Start the process that forks; it ends when its input is closed, at the end of this one."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    atexit.register(process.__exit__, None, None, None)
    return process


def run(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    output: Path,
    longest: float,
) -> int:
    """Run Snakemake in a folder, both its outputs into a new file, and return its exit status.

    Raises
    ------
    TimeoutError
        If it takes longer than that (s); then it is killed, with what it had started.
    """
    process = server()
    command = (arguments, str(folder), dict(environment), str(output))
    process.stdin.write(json.dumps(command).encode() + b"\n")
    if not select.select([process.stdout], [], [], longest)[0]:
        os.killpg(process.pid, signal.SIGKILL)
        server.cache_clear()
        raise TimeoutError(f"snakemake {' '.join(arguments)}: not done within {longest} s")
    return int(process.stdout.readline())


def serve() -> None:
    """Fork for every line of the input; return, with the command, in what was forked."""
    import jsonschema  # noqa: F401
    import smart_open  # noqa: F401
    import snakemake.cli

    snakemake.cli.get_argument_parser()  # which imports the plugins
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(*json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def become(
    arguments: Sequence[str], folder: str, environment: Mapping[str, str], output: str
) -> None:
    """Make of this process what the interpreter would be that is started there."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    for stream in (1, 2):
        os.dup2(written, stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["snakemake", *arguments]
    sys.path[0] = folder


if __name__ == "__main__":
    serve()
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
