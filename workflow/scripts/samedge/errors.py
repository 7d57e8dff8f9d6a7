"""Errors meant for the person at the keyboard, and how scripts report them."""

import difflib
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Something the user can mend: the message names what, where, and what would be right."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``name``, or ``""``.

    Upper and lower case count as the same letter.
    """
    lowered = {candidate.lower(): candidate for candidate in known}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean '{lowered[match[0]]}'?" if match else ""


def run_script(main: Callable[[], None]) -> None:
    """Run a script's ``main``; a :class:`UserError` becomes one message and exit code 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
