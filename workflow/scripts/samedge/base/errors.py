"""Errors meant for the person at the keyboard, and how scripts report them."""

import argparse
import difflib
import errno
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from samedge.base.log import give_up_unread, spell_out

VERBOSE = "--verbose"

# What to do about a file that cannot be written or read, by the system's reason.
REMEDIES = {
    errno.ENOSPC: "free some space and run again: what was finished is kept",
    errno.EDQUOT: "your quota is used up: free some space and run again",
    errno.EFBIG: "the limit on the size of a file is reached (ulimit -f): raise it and run again",
    errno.EROFS: "run where the results folder can be written to",
    errno.EACCES: "it may not be opened by you: change its permissions, or run elsewhere",
    errno.EPERM: "it may not be changed by you: change its permissions, or run elsewhere",
    errno.ENOENT: "check the path",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "a part of the path is a file: name another",
    errno.EMFILE: "too many files are open (ulimit -n): raise the limit",
}


class UserError(Exception):
    """Something the user can mend: the message names what, where, and what would be right."""


class Interrupted(BaseException):
    """A signal has asked the process to end. Like KeyboardInterrupt it is no Exception."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class Parser(argparse.ArgumentParser):
    """A command line whose errors name the nearest option or choice.

    ``prog`` is what calls it, if not the script; its help ends with the lines of ``examples``.
    """

    def __init__(self, description: str, prog: str | None = None, examples: str = "") -> None:
        lines = "".join(f"\n  {line}" for line in examples.splitlines())
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:{lines}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument(VERBOSE, action="store_true", help="show the traceback of any error")

    def parse_args(  # type: ignore[override]  # no namespace of the caller's own is taken
        self, argv: Sequence[str] | None = None
    ) -> argparse.Namespace:
        """Return the arguments; what is not known ends the program with a message."""
        arguments, unknown = self.parse_known_args(argv)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            hint = did_you_mean(unknown[0].partition("=")[0], options)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return arguments

    def error(self, message: str) -> NoReturn:
        """End the program with usage and message, and the nearest choice if one was missed."""
        found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if found:
            message += did_you_mean(found[1], re.findall(r"[^', ]+", found[2]))
        super().error(message)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``name``, or ``""``.

    Upper and lower case count as the same letter.
    """
    lowered = {candidate.lower(): candidate for candidate in known}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean '{lowered[match[0]]}'?" if match else ""


def run_script(main: Callable[[], None]) -> None:
    """Run a script's ``main``; whatever goes wrong becomes one message and an exit code.

    The code is 1 for an error and, as shells have it, 128 and its number for a signal. With
    ``--verbose`` among the arguments, the traceback is shown. What the outputs cannot show is
    spelled out, and that nobody reads them changes no exit code.
    """
    spell_out()
    try:
        main()
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.number)
    except (Exception, KeyboardInterrupt) as error:
        if VERBOSE in sys.argv:
            raise
        if isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        sys.exit(f"error: {user_message(error)}")
    finally:
        give_up_unread()


def user_message(error: Exception) -> str:
    """Return a message about an error for someone who did not write the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        remedy = REMEDIES.get(error.errno or 0)
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}{f'; {remedy}' if remedy else ''}"
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, or make the experiment smaller"
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    place = ""
    if step is not None:
        place = f" ({Path(step.tb_frame.f_code.co_filename).name}, line {step.tb_lineno})"
    lines = str(error).strip().splitlines() or [""]
    return (
        f"{type(error).__name__}: {lines[0]}{place}; this should not happen: run the same command "
        f"with {VERBOSE} to see where it comes from, and please report it"
    )
