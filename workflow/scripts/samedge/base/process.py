"""The process that plans and starts jobs."""

import os
import sys
from pathlib import Path


def put_python_first() -> None:
    """Let whatever this process starts find the Python that runs it first on the PATH."""
    folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])
