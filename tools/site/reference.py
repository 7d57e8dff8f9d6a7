"""The reference: what samedge offers, grouped by use, and what components of one's own are made of.

Each page has a directive for each name, of which mkdocstrings makes the text from the sources,
without importing them.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docstrings import inline
from repository import ROOT

PACKAGE = ROOT / "workflow" / "scripts" / "samedge"


@dataclass(frozen=True)
class Group:
    """A page of the reference: its title, what it says first, and the names that it describes."""

    title: str
    introduction: str
    names: Sequence[str]


MEASURING = Group(
    "Measuring",
    "Eigenpairs and density of a Hessian, from a loss or from an operator, and eigenpairs along a\n"
    "training loop of one's own. [Method](../method.md#how-curvature-is-measured) has how\n"
    "it is done, [Which number do I want?](../numbers.md) what each number is good for.",
    (
        "top_eigenpairs",
        "Eigenpairs",
        "RitzPairs",
        "Monitor",
        "HostLoss",
        "spectral_density",
        "SpectralDensity",
        "hessian_vector_product",
    ),
)
OPERATORS = Group(
    "Operators",
    "What `top_eigenpairs` and `spectral_density` take in place of a loss: a symmetric operator,\n"
    "the Gauss-Newton matrix, a preconditioned Hessian, a block of one.",
    (
        "Operator",
        "gauss_newton",
        "congruent",
        "block",
        "hessian_block",
        "layers",
        "parameter_names",
    ),
)
EDGES = Group(
    "Edges",
    "The edges of stability in closed form; [Method](../method.md#the-edge-of-sam) has where they\n"
    "come from.",
    (
        "gd_edge",
        "sam_edge",
        "unnormalized_sam_edge",
        "displaced_edge",
        "edge_ratio",
        "negative_curvature_bound",
    ),
)
RULES = Group(
    "Update rules",
    "The gradient that SAM steps along, and rules with their edges. `samedge.RULES` has a\n"
    "function for each rule, by name; those that are shipped come last.",
    ("sam_gradient", "gradients", "UpdateRule", "RULES", "use_plugins"),
)
#: Names by module: what docs/extending.md builds on.
COMPONENTS: Mapping[str, Sequence[str]] = {
    "data.prepare": ("DATASETS", "Request", "Examples", "images", "text_by_lines", "regression"),
    "tasks.model": ("MODELS", "Model", "Params"),
    "tasks.layers": ("dropout",),
    "tasks.loss": ("LOSSES",),
    "tasks.problems": ("KINDS", "Problem"),
    "updates.rule": ("Point",),
    "updates.displacement": ("DISPLACEMENTS", "Displacement"),
    "updates.effective": ("effective_operator", "part_of"),
    "updates.schedule": ("SCHEDULES",),
    "base.registry": ("Registry",),
}
GROUPS = {"measuring": MEASURING, "operators": OPERATORS, "edges": EDGES, "rules": RULES}
SHIPPED_RULES = "updates/rules"
INTRODUCTION = """\
# Reference

What `import samedge` offers; a name is imported when it is first used. These names, and those of
[Components](components.md), are what the other pages build on; everything else of the package is
its own affair.
"""
COMPONENTS_INTRODUCTION = """\
# Components

What data sets, models, losses, update rules and schedules of one's own are made of;
[Extending](../extending.md) has an example of each. A registry is filled by its `register`.
"""


def pages() -> dict[str, str]:
    """Return the pages by their address."""
    found = {f"reference/{name}.md": _page(group) for name, group in GROUPS.items()}
    found["reference/rules.md"] += _directives(
        [f"updates.rules.{path.stem}.{path.stem}" for path in _files(SHIPPED_RULES)]
    )
    names = [f"{module}.{name}" for module, names in COMPONENTS.items() for name in names]
    found["reference/components.md"] = f"{COMPONENTS_INTRODUCTION}\n{_directives(names)}"
    found["reference/index.md"] = _index()
    return found


def _page(group: Group) -> str:
    """Return the page of a group."""
    return f"# {group.title}\n\n{group.introduction}\n\n{_directives(group.names)}"


def _directives(names: Sequence[str]) -> str:
    """Return what mkdocstrings replaces by the description of each name."""
    return "".join(f"::: samedge.{name}\n\n" for name in names)


def _index() -> str:
    """Return a table of all that is offered, with the first sentence on each."""
    lines = [INTRODUCTION]
    for name, group in GROUPS.items():
        lines += [f"## [{group.title}]({name}.md)", "", "| name | |", "|---|---|"]
        for one in group.names:
            lines.append(f"| [`samedge.{one}`]({name}.md#samedge.{one}) | {_first_line(one)} |")
        lines.append("")
    lines += ["## Modules, in which the same names are", "", "| name | |", "|---|---|"]
    for module in sorted(set(homes().values())):
        tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
        text = (ast.get_docstring(tree) or "").partition(", see ")[0].rstrip(".")
        lines.append(f"| `samedge.{module}` | {text} |")
    lines.append("| `samedge.__version__` | the version, a string |")
    return "\n".join([*lines, ""])


def homes() -> dict[str, str]:
    """Return the module that offers each name, as the package's face has it."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOMES":
            return ast.literal_eval(node.value)
    raise LookupError("samedge/__init__.py has no _HOMES")


def _first_line(name: str) -> str:
    """Return the first line of what a name's docstring says."""
    if name == "RULES":  # a value, which has none
        return "The update rules: a function by the name of each, which takes its settings"
    found = _definition(name, PACKAGE / f"{homes()[name]}.py")
    return inline((ast.get_docstring(found) or "").partition("\n")[0].rstrip("."))


def _definition(name: str, path: Path) -> ast.FunctionDef | ast.ClassDef:
    """Return the function or class of a name, from the module that it is imported from."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            return _definition(name, PACKAGE.parent / f"{node.module.replace('.', '/')}.py")
    raise LookupError(f"{path} has no {name}")


def link_names(markdown: str) -> str:
    """Return a page in which each name of the package, as code, leads to its description."""
    names = "|".join(homes())
    code = re.compile(
        rf"(?P<fenced>^(```+).*?^\2[ \t]*$)|(?<![`\[])`samedge\.(?P<name>{names})\b[^`\n]*`(?!`)",
        re.MULTILINE | re.DOTALL,
    )
    return code.sub(
        lambda match: (
            match[0]
            if match["fenced"]
            else f'<autoref identifier="samedge.{match["name"]}" optional>{match[0]}</autoref>'
        ),
        markdown,
    )


def _files(folder: str) -> list[Path]:
    """Return the modules of a folder of the package."""
    return sorted(path for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__")
