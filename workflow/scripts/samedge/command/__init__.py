"""The command ``samedge``: a file for each of its subcommands, and for what a terminal shows."""
