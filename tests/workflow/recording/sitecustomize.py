"""Says which modules of samedge a script of the workflow had imported when it ended."""

import atexit
import json
import os
import sys
from pathlib import Path


def _record() -> None:
    script = Path(sys.argv[0])
    if script.parent.name == "scripts" and script.suffix == ".py":
        modules = sorted(name for name in sys.modules if name.partition(".")[0] == "samedge")
        record = {"script": script.stem, "arguments": sys.argv[1:], "modules": modules}
        name = f"{script.stem}-{os.getpid()}.json"
        Path(os.environ["MODULES_RECORD"], name).write_text(json.dumps(record), encoding="utf-8")


if "MODULES_RECORD" in os.environ:
    atexit.register(_record)
