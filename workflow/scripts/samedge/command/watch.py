"""``samedge watch``: runs in progress, in a terminal and on a page that renews itself."""

import argparse
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from samedge.base.errors import UserError, user_message
from samedge.base.files import require_file_path, write_whole

if TYPE_CHECKING:
    from samedge.watching.run import WatchedRun

DESCRIPTION = """\
Show the runs of an experiment while they are trained: how far they are, their loss and λ1, and as a
curve λ1 over the edge. It only reads, also what jobs on other machines write to a shared folder. It
goes on until Ctrl-C, which no run notices."""
EXAMPLES = """\
samedge watch results/default
samedge watch results/default --once
samedge watch results/default --page"""
INSTALL = "samedge[watch]"
PAGE = "watch.html"
#: Looks from one page to the next, and the share of the time that writing pages may take.
LOOKS, SHARE = 5, 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command line name the experiment, and how to show it."""
    parser.add_argument(
        "folder",
        type=Path,
        help="results/<experiment>, or a folder of run files that are made by hand",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="show the runs once and end, as also where the output is no terminal",
    )
    parser.add_argument(
        "--every",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="seconds from one look to the next (default: 2)",
    )
    parser.add_argument(
        "--page",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="PATH",
        help="also write the explorer of the runs so far, which an open browser renews by itself "
        f"(default: {PAGE} in the folder)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Show the runs, once or until somebody leaves."""
    from rich.console import Console, Group
    from rich.live import Live

    from samedge.command.screen import Signs, screen
    from samedge.watching.runs import Watch

    if not 0.1 <= arguments.every < math.inf:
        raise UserError(f"--every: {arguments.every:g} must be a number of seconds from 0.1 on")
    watch = Watch(arguments.folder)
    console = Console(highlight=False)
    signs = Signs.of(console.encoding)
    once = arguments.once or not console.is_terminal or console.is_dumb_terminal
    page = None
    if arguments.page is not None:
        path = arguments.page if arguments.page.name else arguments.folder / PAGE
        page = Page(_page_path(path, arguments.folder), 0 if once else LOOKS * arguments.every)

    def shown(runs: Sequence["WatchedRun"], live: bool) -> Any:
        title = f"{arguments.folder}{signs.separator}{time.strftime('%H:%M:%S')}"
        footer = [page.said] if page is not None and page.said else []
        footer += ["Ctrl-C leaves; the runs go on"] if live else []
        height = console.height if live or console.is_terminal else None
        return Group(*screen(title, runs, console.width, height, signs, footer))

    runs = watch.look()
    if once:
        if page is not None:
            page.write(runs)
        console.print(shown(runs, live=False))
        return
    with _leaving():
        try:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while True:
                    if page is not None:
                        page.update(runs)
                    live.update(shown(runs, live=True), refresh=True)
                    time.sleep(arguments.every)
                    runs = watch.look()
        except KeyboardInterrupt:
            pass
        finally:
            if page is not None:
                page.write(runs)
    console.print(shown(runs, live=False))


class Page:
    """The page of the runs so far, written anew when they have changed.

    Parameters
    ----------
    path
        Where it lies.
    every
        Seconds from one page to the next, at least.
    """

    def __init__(self, path: Path, every: float) -> None:
        self.path = path
        self.every = every
        self.said = ""
        self._shown: list[WatchedRun] | None = None
        self._due = 0.0

    def update(self, runs: "Sequence[WatchedRun]") -> None:
        """Write the page if runs have changed, and the last one is some time ago."""
        if time.monotonic() < self._due or list(runs) == self._shown:
            return
        begun = time.monotonic()
        self.write(runs, renewing=True)
        now = time.monotonic()
        self._due = now + max(self.every, (now - begun) / SHARE)

    def write(self, runs: "Sequence[WatchedRun]", renewing: bool = False) -> None:
        """Write the page; with ``renewing`` browsers load it anew while runs are to come."""
        from samedge.explorer.page import Live, page
        from samedge.watching.run import IN_PROGRESS, WAITING
        from samedge.watching.so_far import so_far

        found = so_far(runs)
        self._shown = list(runs)
        if not found.cubes:
            self.said = f"no page yet: {self.path}: no run has begun"
            return
        open_runs = any(run.state in (*IN_PROGRESS, WAITING) for run in runs)
        live = Live(
            time.strftime("%Y-%m-%d %H:%M:%S"),
            self.every if renewing and open_runs else None,
            found.unfinished,
        )
        try:
            write_whole(self.path, page(found.cubes.values(), (), live))
        except OSError as error:
            self.said = f"page: {user_message(error)}"
            return
        left_out = f"; left out: {found.left_out[0]}" if found.left_out else ""
        self.said = f"page: {self.path}{left_out}"


def _page_path(path: Path, folder: Path) -> Path:
    """Return where to write the page, which is not where the workflow writes its own."""
    require_file_path(path, "--page")
    if path.resolve() == (folder / "explorer.html").resolve():
        raise UserError(f"--page: {path} is the page that the workflow writes; name another")
    return path


@contextmanager
def _leaving() -> Iterator[None]:
    """Let a request to end be one to leave, so that the terminal is as it was before."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
