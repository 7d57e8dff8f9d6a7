"""Lines of a job's log. No text ever ends the work that it is about."""

import sys
from contextlib import suppress

SPELLED = "backslashreplace"  # what is done with a character that a terminal or a log cannot show


def say(line: str) -> None:
    r"""Print a line at once; characters that cannot be shown are spelled out, as ``\u03bb``.

    That nobody reads it any more is no reason to end: when a workflow is killed, so is what takes
    its jobs' output, while a job may still have a checkpoint to write.
    """
    with suppress(OSError):
        try:
            print(line, flush=True)
        except UnicodeEncodeError:
            print(line.encode("ascii", SPELLED).decode(), flush=True)


def spell_out() -> None:
    """Let both outputs of this process spell out what they cannot show, whoever prints it."""
    for stream in (sys.stdout, sys.stderr):
        # A notebook's and a test's own may not know how, and there may be none.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=SPELLED)


def give_up_unread() -> None:
    """Forget what is left in the output if it cannot be written: else the exit code is 120."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            sys.stdout = None
