"""How docstrings of the package are read for the reference: numpydoc, with bits of reST.

The package writes descriptions without types, since those stand in the signatures, and roles such
as ``:func:`` and ``:math:``. mkdocstrings reads Markdown, and takes a line of its own for a type.
"""

import ast
import re
import textwrap
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?P<role>\w+):`(?P<text>[^`]+)`")
_SECTION = re.compile(r"^(?P<title>[A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
_LITERAL = re.compile(r"::[ ]*\n\n(?P<code>(?:[ ]{4,}.*\n?|[ ]*\n)+)")
#: Sections that list things by name, and those that describe one thing.
NAMED = {"Parameters", "Other Parameters", "Attributes", "Raises"}
ONE = {"Returns", "Yields"}


class MarkdownDocstrings(Extension):
    """Turns every docstring into what mkdocstrings reads, as soon as it is found."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value, obj)


def to_markdown(text: str, owner: Object) -> str:
    """Return a docstring with sections and roles as mkdocstrings has them."""
    heads = list(_SECTION.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)][: len(heads)]
    parts = [text[: heads[0].start()] if heads else text]
    for head, end in zip(heads, ends, strict=True):
        body = text[head.end() : end].strip("\n")
        if head["title"] in NAMED:
            body = _named(body)
        elif head["title"] in ONE and not re.search(r"^[ ]+\S", body, re.MULTILINE):
            body = f":\n{textwrap.indent(body, '    ')}"
        parts.append(f"{head['title']}\n{'-' * len(head['title'])}\n{body}\n\n")
    whole = "".join(parts).rstrip()
    whole = _LITERAL.sub(_fenced, f"{whole}\n")
    return _ROLE.sub(lambda match: _role(match, owner), whole).rstrip()


def _named(body: str) -> str:
    """Return a section in which every description stands below its names."""
    lines: list[str] = []
    for line in body.split("\n"):
        name, colon, description = line.partition(" : ")
        if colon and re.fullmatch(r"\*{0,2}\w+(, \*{0,2}\w+)*", name):
            lines += [name, f"    {description}"]
        else:
            lines.append(line)
    return "\n".join(lines)


def _fenced(match: re.Match[str]) -> str:
    """Return an indented block, announced by two colons, as a block of code."""
    code = textwrap.dedent(match["code"]).strip("\n")
    try:
        ast.parse(code)
        language = "python"
    except SyntaxError:
        language = "text"
    return f":\n\n```{language}\n{code}\n```\n\n"


def inline(text: str) -> str:
    """Return a line of a docstring as Markdown without links."""
    return _ROLE.sub(lambda match: _unlinked(match["role"], match["text"]), text)


def _unlinked(role: str, text: str) -> str:
    """Return a formula between dollars, and a name as code."""
    return f"${text}$" if role == "math" else f"`{text.lstrip('~')}`"


def _role(match: re.Match[str], owner: Object) -> str:
    """Return a formula between dollars, or a link to what the reference may have."""
    text = " ".join(match["text"].split())
    if match["role"] == "math":
        return _unlinked("math", text)
    shown = text.lstrip("~")
    path = shown
    if not shown.startswith("samedge."):
        scope = owner if match["role"] in ("meth", "attr") and "." not in shown else owner.module
        if scope is owner and not owner.is_class and owner.parent is not None:
            scope = owner.parent
        path = f"{scope.path}.{shown}"
    if text.startswith("~"):
        shown = shown.rpartition(".")[2]
    return f'<autoref identifier="{path}" optional>{_unlinked(match["role"], shown)}</autoref>'
