"""Run the benchmarks one after the other, each in a process of its own.

    python -m benchmarks                     # all of them
    python -m benchmarks curvature memory    # these

A part alone, with options of its own: ``python -m benchmarks.curvature --help``.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

PARTS = (
    "traps",
    "curvature",
    "stopping",
    "checks",
    "vectors",
    "training",
    "scaling",
    "startup",
    "packing",
    "experiment",
    "scale",
    "memory",
    "checkpoints",
    "minibatches",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts asked for; return 1 if any of them failed, after running the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))} (there are: {', '.join(PARTS)})")
    failed = []
    for part in arguments.parts or PARTS:
        print(f"== {part}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{part}"]).returncode:
            failed.append(part)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
