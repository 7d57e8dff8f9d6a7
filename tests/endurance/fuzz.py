"""Change configurations, data files and cubes at random, and see how they are received.

    python tests/endurance/fuzz.py configurations --count 1000
    python tests/endurance/fuzz.py files --count 500

A changed configuration is either refused by a message that names a key that was changed, or
planned. A changed file is either refused by a message that names it, or reads as it did before.
Exit code 0 says that nothing else has happened; otherwise the first other outcome is shown.
"""

import argparse
import copy
import json
import math
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / f"tests/{kind}") for kind in ("workflow", "unit")]
sys.path.insert(0, str(REPOSITORY / "workflow/scripts"))

import synthetic  # noqa: E402  (its folder is on the path only now)
from checkout import Checkout  # noqa: E402
from samedge.base.errors import UserError  # noqa: E402
from samedge.base.log import say  # noqa: E402
from samedge.config import experiment as configuration  # noqa: E402
from samedge.config.paper_figures import drawable  # noqa: E402
from samedge.data import file  # noqa: E402
from samedge.records import files as records  # noqa: E402

# What people write by mistake, and what YAML makes of it.
ODD_VALUES = [
    *(None, True, False, 0, -1, 1, 2, 3.0, 0.5, -0.1, 10**30, 1e-300, math.inf, math.nan),
    *("", "x", "1e-3", "0.1", "null", "mnits", "samm", "../up", "ünïcode", "a" * 300, "\n"),
    *([], [1], [0.1, 0.1], [None], [["x"]], ["0.1"], {}, {"x": 1}, {1: 2}, {None: None}),
]

Path_ = tuple[Any, ...]
Change = tuple[str, Path_, Any]


def places(config: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of everything in a configuration, but for its top."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def changed(config: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """Return a copy of a configuration with changes made, as far as their places still exist."""
    result = copy.deepcopy(dict(config))
    for kind, path, value in changes:
        parent: Any = result
        try:
            for key in path[:-1]:
                parent = parent[key]
            old = parent[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        match kind:
            case "replace":
                parent[path[-1]] = copy.deepcopy(value)
            case "delete":
                del parent[path[-1]]
            case "rename" if isinstance(parent, dict):
                parent[f"{path[-1]}s"] = parent.pop(path[-1])
            case "add" if isinstance(old, dict):
                old["extra"] = copy.deepcopy(value)
            case "repeat" if isinstance(old, list) and old:
                old.append(old[0])
            case "scale" if isinstance(old, int | float) and not isinstance(old, bool):
                parent[path[-1]] = old * 10 if value else -old
    return result


def changes_of(config: Mapping[str, Any]) -> st.SearchStrategy[list[Change]]:
    """Return a strategy of one to three changes of a configuration."""
    kinds = st.sampled_from(["replace", "replace", "delete", "rename", "add", "repeat", "scale"])
    change = st.tuples(kinds, st.sampled_from(list(places(config))), st.sampled_from(ODD_VALUES))
    return st.lists(change, min_size=1, max_size=3)


def receive_config(config: Mapping[str, Any], changes: Sequence[Change]) -> str:
    """Return "planned" or "refused"; any other way to receive a changed configuration raises."""
    try:
        experiment = configuration.validate(config)
    except UserError as error:
        message = str(error)
        keys = {
            next(key for key in reversed(path) if isinstance(key, str)) for _, path, _ in changes
        }
        assert any(key in message for key in keys), f"{changes}: names none of them: {message}"
        return "refused"
    # What the rules make of it while they are read.
    drawable(experiment.tasks)
    for task in experiment.tasks:
        runs = experiment.runs(task)
        assert len({run.name for run in runs}) == len(runs)
        for run in runs:
            assert type(run).from_json(run.to_json()) == run
    return "planned"


def fuzz_configurations(
    count: int, seed: int, say: Callable[[str], None], every: int = 20
) -> Counter:
    """Receive so many changed configurations.

    Snakemake itself plans one of ``every`` that are accepted, and one of 20 times as many others.

    Raises
    ------
    AssertionError
        At the first that is received in any other way.
    """
    original = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout.copy(REPOSITORY, Path(folder) / "checkout")

        @hypothesis.seed(seed)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(changes_of(original))
        def receive(changes: list[Change]) -> None:
            config = changed(original, changes)
            outcome = receive_config(config, changes)
            counts[outcome] += 1
            if (counts[outcome] - 1) % (every if outcome == "planned" else 20 * every) == 0:
                assert plan(checkout, config) == outcome, changes
                counts[f"{outcome} by Snakemake"] += 1

        receive()
    say(", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    return counts


def plan(checkout: Checkout, config: Mapping[str, Any]) -> str:
    """Return what Snakemake makes of a configuration in a dry run: "planned" or "refused"."""
    text = yaml.safe_dump(config, allow_unicode=True)
    (checkout.root / "config.yaml").write_text(text, encoding="utf-8")
    done = checkout.python("-m", "snakemake", "--dry-run", "--quiet", "all")
    assert "Traceback" not in done.stdout, done.stdout
    assert done.returncode in (0, 1), done.stdout
    return "planned" if done.returncode == 0 else "refused"


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return content with bits flipped, a piece lost, zeroed, doubled or moved, or cut short."""
    start, end = sorted(chance.sample(range(len(content)), 2))
    match chance.randrange(6):
        case 0:
            flipped = bytearray(content)
            for _ in range(chance.randint(1, 8)):
                flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            return bytes(flipped)
        case 1:
            return content[:start]
        case 2:
            return content[:start] + content[end:]
        case 3:
            return content[:start] + bytes(end - start) + content[end:]
        case 4:
            return content[:end] + content[start:]
        case _:
            return content + content[start:end]


def fuzz_files(count: int, seed: int, say: Callable[[str], None]) -> Counter:
    """Read so many damaged data files, and so many damaged cubes.

    Raises
    ------
    AssertionError
        At the first that is neither refused by name nor read as it was.
    """
    chance = random.Random(seed)
    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        data, cube = Path(folder) / "data.npz", Path(folder) / "cube.nc"
        arrays = {
            "train_inputs": np.arange(3200, dtype=np.uint8).reshape(50, 8, 8, 1),
            "train_labels": np.arange(50, dtype=np.uint8) % 10,
        }
        file.write_data(data, arrays, {"name": "mnist", "kind": "images", "stand_in": True})
        records.write(synthetic.run(synthetic.run_settings()), cube)
        readers = {
            data: lambda: file.read_data(data).checksum,
            cube: lambda: json.dumps(records.read_cube(cube).to_dict(), default=str),
        }
        for path, read in readers.items():
            content, wanted = path.read_bytes(), read()
            for _ in range(count):
                path.write_bytes(damaged(content, chance))
                try:
                    found = read()
                except UserError as error:
                    assert path.name in str(error), str(error)
                    counts[f"{path.name} refused"] += 1
                else:
                    assert found == wanted, f"{path.name} reads otherwise than it was"
                    counts[f"{path.name} as it was"] += 1
    say(", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    return counts


def main(argv: Sequence[str] | None = None) -> None:
    """Change what the command line asks for, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("configurations", "files"))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the changes")
    parser.add_argument(
        "--every", type=int, default=20, help="of how many accepted ones Snakemake plans one"
    )
    arguments = parser.parse_args(argv)
    if arguments.what == "files":
        fuzz_files(arguments.count, arguments.seed, say)
    else:
        fuzz_configurations(arguments.count, arguments.seed, say, arguments.every)


if __name__ == "__main__":
    main()
