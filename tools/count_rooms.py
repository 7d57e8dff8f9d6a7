"""Count the rooms of the package, its files, and the imports between them.

Run as ``python tools/count_rooms.py [checkout]``. What may import what is held by import-linter, in
``make lint``; this says how much there is of it.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LONG = 350  # lines


def levels() -> dict[str, int]:
    """Return each room's height, as the linter's contract on layers has it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return {room.strip(): -level for level, layer in enumerate(layers) for room in layer.split("|")}


def imported(path: Path, package: Path) -> Iterator[Path]:
    """Yield the files of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = package.parent / f"{name.replace('.', '/')}.py"
            if file.is_file():
                yield file


def main(checkout: Path) -> None:
    """Print the counts of a checkout."""
    package = checkout / "workflow" / "scripts" / "samedge"
    files = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    graph = {path: {*imported(path, package)} - {path} for path in files}
    place = levels()

    def room(path: Path) -> str:
        """Return the room that a file is in, "" for the package's own folder."""
        parts = path.relative_to(package).parts
        return parts[0] if len(parts) > 1 else ""

    pairs = [(room(path), room(other)) for path, others in graph.items() for other in others]
    between = [(one, other) for one, other in pairs if one != other and one]
    upward = [pair for pair in between if place[pair[1]] >= place[pair[0]]]
    rooms = {room(path) for path in files} - {""}
    try:
        TopologicalSorter(graph).prepare()
        circles = "0"
    except CycleError as error:
        circles = " → ".join(path.stem for path in error.args[1])
    long = [path for path in files if len(path.read_text(encoding="utf-8").splitlines()) > LONG]
    print(f"rooms {len(rooms)}, folders {len({path.parent for path in files} - {package})}")
    print(f"files {len(files)}, of them in the package's own folder", end=" ")
    print(sum(room(path) == "" for path in files))
    print(f"imports {len(pairs)}, between rooms {len(between)}")
    print(f"upward or sideways {len(upward)}, circles {circles}")
    print(f"files over {LONG} lines: {', '.join(sorted(path.name for path in long)) or 'none'}")
    most = {name: sum(room(path) == name for path in files) for name in sorted(rooms)}
    print(f"files in each: {', '.join(f'{name} {count}' for name, count in most.items())}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY)
