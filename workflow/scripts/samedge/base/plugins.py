"""Whether plugins can be imported, tried before any job needs them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from samedge.base.components import PACKAGE
from samedge.base.errors import UserError

#: What environments of jobs have and the one that plans may lack.
OF_JOBS = ("flax", "haiku", "jax", "optax")
TRY = """
import sys
from pathlib import Path
from samedge.base.components import load, use_plugins
from samedge.base.errors import UserError
use_plugins([*map(Path, sys.argv[1:])])
for path in map(Path, sys.argv[1:]):
    try:
        load(path)
    except UserError as error:
        print(error)
        name = getattr(error.__cause__, "name", None)
        sys.exit(2 if isinstance(error.__cause__, ImportError) and name in {OF_JOBS} else 1)
"""


def require_importable(plugins: Sequence[Path]) -> None:
    """Import plugins in a process of its own, so that one that cannot be is known at once.

    Where this environment lacks a package that those of jobs have, nothing can be told.

    Raises
    ------
    UserError
        Naming the plugin, the line and the error.
    """
    if not plugins:
        return
    done = subprocess.run(
        [sys.executable, "-c", TRY.replace("{OF_JOBS}", repr(OF_JOBS)), *map(str, plugins)],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 2):
        raise UserError(done.stdout.strip() or done.stderr.strip())
