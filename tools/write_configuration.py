"""Write docs/configuration.md from the schema and config.yaml.

Run as ``python tools/write_configuration.py``. A test holds the committed file equal to what this
script writes.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
SCHEMA = REPOSITORY / "workflow/scripts/samedge/config/schema.yaml"
DEFAULT = REPOSITORY / "config.yaml"
PAGE = REPOSITORY / "docs" / "configuration.md"

SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

PREFACE = """\
<!-- Written by tools/write_configuration.py from the schema and config.yaml; edit those. -->
# Configuration

`config.yaml` is the default experiment. Another one is a file of your own with the keys that
differ, laid over it:

```
snakemake --cores all --resources gpu=1 --configfile my.yaml
```

**Overlays.** Nested keys are merged, lists are replaced whole, and several files apply in turn
(`--configfile config/laptop.yaml my.yaml`). Give each experiment its own name under
`experiment:`, so that results stand side by side. Shipped are `config/laptop.yaml` (the paper's
grids on real data, at sizes for a CPU), `config/length.yaml` (the same with ten times the steps
and three seeds, a night on two cores), `config/paper.yaml` (exactly the paper),
`config/night.yaml` (the paper's runs and sizes, with steps for one night on one GPU),
`config/networks.yaml` (a residual network and a Vision Transformer on real data, minutes on a CPU),
`config/optimizers.yaml` (seven update rules at their edges on real data, one to two hours),
`config/minibatches.yaml` (SGD and SAM at batch sizes from 8 to all examples, an hour or two) and
`config/late.yaml` (runs that go on as others, an hour or two).

**Leaving out.** Merging cannot take a key away, so null does: a task set to null is not run, and
a setting of a model or an update rule set to null is as if it were not there, which an overlay that
replaces the model or the rule needs:

```yaml
experiment: no_text
tasks:
  mnist:
    model: {name: cnn, settings: {depth: null, width: null, blocks: 1, channels: 4}}
  tiny_shakespeare: null
```

**Numbers.** `1e-3` and `1.0e-3` are the same number here, although YAML takes the first for text.
Learning rates and radii appear in file names and figures as plain decimals: `1e-3` becomes
`0.001`, while `1` and `1.0` stay as written. Whole numbers have no point and no exponent. Learning
rates and radii are numbers that float32 holds.

**The command line.** `--config 'tasks={mnist: {batch_size: null}}'` hands everything in braces and
lists over as text. So text that is a number, `null`, `~`, `true` or `false` counts as that in any
key but `experiment` and the names; write a folder of such a name as `./null`.

**Seeds.** A seed decides the initial weights, the order of minibatches and the starting vectors
of the eigenvalue solver. Each seed is one more run at each grid point.

**Names.** Kinds of task, data sets, models, losses and update rules are looked up in registries;
[extending.md](extending.md) says how to add to them.

**Mistakes.** An unknown key, a value of the wrong type, a duplicate grid point, or checks that do
not fit the budget stop everything before it starts; the message says what would be right.

Tables give for each key what it may hold, what it means, and its value in `config.yaml`. Every key
but `container`, `claims`, `curvature.ends`, `curvature.certify`, `blocks`, `stochastic`, `way`,
`families`, `plugins`, and a task's `dataset.file`, `update.settings`, `update.schedule`, `blocks`
and `start_from` is required, there or in an overlay. Sections are those of the paper (Long &
Bartlett, JMLR 25, 2024); the maths is in [method.md](method.md)."""


def page() -> str:
    """Return the whole page."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    default = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    sections = {key: node for key, node in schema["properties"].items() if "properties" in node}
    single = {
        key: node
        for key, node in schema["properties"].items()
        if key not in sections and key != "tasks"
    }
    blocks = [PREFACE, "## The experiment", table(single, {"config.yaml": default})]
    for key, node in sections.items():
        blocks += [
            f"## `{key}`",
            sentence(node),
            table(node["properties"], {"config.yaml": default[key]}),
        ]
    task, tasks = schema["$defs"]["task"], default["tasks"]
    blocks += [
        "## `tasks.<name>`",
        sentence(task) + " The name has lower-case letters, digits and underscores.",
        table(dict(leaves(task["properties"])), tasks),
        "## `tasks.<name>.model.settings`",
    ]
    for choice in task["properties"]["model"]["allOf"]:
        name = choice["if"]["properties"]["name"]["const"]
        users = {
            user: values["model"]["settings"]
            for user, values in tasks.items()
            if values["model"]["name"] == name
        }
        blocks += [f"### `{name}`", table(schema["$defs"][name]["properties"], users)]
    return "\n\n".join(blocks) + "\n"


def leaves(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and their part of the schema, nested ones instead of what nests them."""
    for key, node in properties.items():
        if "properties" in node:
            yield from leaves(node["properties"], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", node


def table(properties: Mapping[str, Any], columns: Mapping[str, Any]) -> str:
    """Return a Markdown table with a row for each key and a column of values for each config."""
    lines = [["Key", "Holds", "Meaning", *(f"`{name}`" for name in columns)]]
    lines.append(["---"] * len(lines[0]))
    for key, node in properties.items():
        values = [spelled(lookup(config, key)) for config in columns.values()]
        lines.append([f"`{key}`", holds(node), meaning(node), *values])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def holds(node: Mapping[str, Any]) -> str:
    """Say in words what a key may hold."""
    kinds = [node["type"]] if isinstance(node["type"], str) else node["type"]
    if "enum" in node:
        return ", ".join(f"`{option}`" for option in node["enum"])
    if kinds == ["array"]:
        return f"list of: {holds(node['items'])}"
    words = {"integer": "whole number", "number": "number", "string": "text", "object": "mapping"}
    bounds = [f"{sign} {node[bound]}" for bound, sign in SIGNS.items() if bound in node]
    first = " ".join([words[kinds[0]], ", ".join(bounds)]).strip()
    return " or ".join([first, *kinds[1:]])


def meaning(node: Mapping[str, Any]) -> str:
    """Return the description of a key on one line, in which nothing passes for HTML."""
    return " ".join(node["description"].split()).replace("<", "&lt;")


def sentence(node: Mapping[str, Any]) -> str:
    """Return the description of a section as a sentence."""
    text = meaning(node)
    return f"{text[0].upper()}{text[1:]}."


def lookup(config: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key."""
    for part in key.split("."):
        config = config.get(part, {})
    return config


def spelled(value: Any) -> str:
    """Return a value as code, as a configuration spells it."""
    if isinstance(value, dict):
        return "see below" if value else ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
