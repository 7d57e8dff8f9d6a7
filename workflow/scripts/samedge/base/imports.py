"""Which files of this package decide what a script does, read from the sources.

They are inputs of its rule, so that an edit runs the rule again, and part of what a checkpoint
belongs to, so that no run goes on with other sources than it began with.

A script is decided by what it imports, itself or through others, wherever in a function; and by the
*components* that its settings name (:mod:`samedge.base.components`), each a file of its own, so
that a new one runs nothing again.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from samedge.base.components import PACKAGE, components, plugins_of

#: What words messages, judges configurations, chooses where a job runs, or tells how far it is: no
#: result depends on it.
UNRELATED = frozenset(
    {
        "base/components",
        "base/errors",
        "base/imports",
        "base/log",
        "base/process",
        "base/registry",
        "config/by_hand",
        "config/experiment",
        "config/messages",
        "config/references",
        "machine/compilation_cache",
        "machine/gpus",
        "machine/signals",
        "records/progress/lines",
        "training/observers/progress",
    }
)


def sources_of(script: Path, **named: str) -> list[str]:
    """Return the files that decide what a script does, as paths below the package's folder.

    Parameters
    ----------
    script
        A Python file; it may lie outside the package, and is not among them then.
    named
        The names of components by their sort, a key of :data:`samedge.base.components.PLACES`. A
        name that no file registers is left to whoever looks it up. Of a plugin, what it imports of
        the package is among the files; it itself is told by
        :func:`samedge.base.components.plugins_of`.
    """
    files = [components(sort).get(name) for sort, name in named.items()]
    waiting, seen = [script, *filter(None, files)], set()
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += _imported(file)
    inside = (file.relative_to(PACKAGE) for file in seen if file.is_relative_to(PACKAGE))
    return sorted(str(file) for file in inside if file.with_suffix("").as_posix() not in UNRELATED)


def sources_digest(script: Path, **named: str) -> str:
    """Return the SHA-256 (hexadecimal) over the files that decide what a script does.

    Plugins that named components come from are among them.
    """
    digest = hashlib.sha256()
    files = [PACKAGE / name for name in sources_of(script, **named)]
    for file in (*files, *plugins_of(**named)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _imported(file: Path) -> list[Path]:
    """Return the files of the package that a file imports itself, but for types."""
    return _read(file, file.stat().st_mtime_ns)


@cache
def _read(file: Path, changed: int) -> list[Path]:
    """Read a file once for as long as it does not change."""
    del changed
    names = _names(ast.parse(file.read_text(encoding="utf-8"), filename=str(file)))
    found = (PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in names)
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _names(node: ast.AST) -> Iterator[str]:
    """Yield dotted names that code imports: modules, and what may be one in a package."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield module
            yield from (f"{module}.{alias.name}" for alias in names)
    for child in ast.iter_child_nodes(node):
        # Expressions are most of a file and import nothing; a job waits while sources are read.
        if not isinstance(child, ast.expr):
            yield from _names(child)
