"""The command ``samedge``: it looks up the subcommand that is asked for, and imports no other."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from samedge import __version__
from samedge.base.errors import Parser, UserError, run_script

DESCRIPTION = "Watch an experiment, show and compare what came of it, and tell edges of stability."
#: Subcommands, each a module beside this one, with the line that the help has of it.
COMMANDS = {
    "watch": "show the runs of an experiment while they are trained",
    "explorer": "write one HTML page of runs, cubes, an experiment or an archive",
    "compare": "report differences of two experiments larger than seed noise",
    "redraw": "draw the figures of an archive again",
    "edges": "print the edges of update rules at learning rates and radii",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; what goes wrong ends it with one message and an exit code."""
    run_script(lambda: command(sys.argv[1:] if argv is None else argv))


def command(words: Sequence[str]) -> None:
    """Run the subcommand that the words of a command line begin with.

    Raises
    ------
    UserError
        If a package is missing that it needs.
    """
    if not words or words[0] not in COMMANDS:
        return _explain(words)
    name = words[0]
    module = importlib.import_module(f"samedge.command.{name}")
    parser = Parser(module.DESCRIPTION, f"samedge {name}", module.EXAMPLES)
    module.add_arguments(parser)
    arguments = parser.parse_args(words[1:])
    try:
        module.run(arguments)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "samedge":
            raise
        raise UserError(
            f"samedge {name} needs the package {package}, which is not installed here: "
            f"pip install '{module.INSTALL}'; in a checkout make environment, and enter it with "
            "source .venv/bin/activate"
        ) from error


def _explain(words: Sequence[str]) -> None:
    """Say what there is, or that what is asked for is not."""
    listed = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
    parser = Parser(f"{DESCRIPTION}\n\ncommands:\n{listed}", "samedge", "samedge watch --help")
    parser.usage = "samedge [-h] [--version] COMMAND ..."
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("command", nargs="?", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.parse_args(words[:1])
    parser.print_help()
