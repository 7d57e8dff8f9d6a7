"""``python -m samedge``, and ``python workflow/scripts/samedge`` in a checkout."""

import sys
from pathlib import Path

if __name__ == "__main__":
    if not __package__:  # called by its folder, which is no place to import from
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from samedge.command.main import main

    main()
