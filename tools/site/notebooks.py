"""Notebooks as pages: their cells and the outputs stored in them, nothing executed."""

import base64
import json
import re
from pathlib import Path
from typing import Any

FOLDER = "tutorials"
#: Kinds of pictures, the best first, and how their files end.
PICTURES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def in_order(docs: Path) -> list[Path]:
    """Return the notebooks: as their folder's README.md names them, then the others by name."""
    folder = docs / FOLDER
    index = folder / "README.md"
    text = index.read_text(encoding="utf-8") if index.exists() else ""
    found = sorted(folder.glob("*.ipynb"))
    named = [path for path in found if path.name in text]
    return sorted(named, key=lambda path: text.index(path.name)) + [
        path for path in found if path not in named
    ]


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by file name."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in cells:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source:
            parts.append(_fenced(source, "python"))
            for output in cell["outputs"]:
                parts.append(_output(output, path.stem, pictures))
    return "\n\n".join(filter(None, parts)) + "\n", pictures


def _output(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> str:
    """Return one output as Markdown; a picture is put beside the page."""
    if output["output_type"] == "stream":
        return _text("".join(output["text"]))
    if output["output_type"] == "error":
        return _text("\n".join(output["traceback"]))
    data = output["data"]
    for kind, ending in PICTURES.items():
        if kind in data:
            content = "".join(data[kind])
            name = f"{stem}_{len(pictures) + 1}.{ending}"
            pictures[name] = content.encode() if ending == "svg" else base64.b64decode(content)
            return f"![Output of the cell above]({name}){{ .output }}"
    table = "".join(data.get("text/html", ""))
    # A page of the site runs no script of an output, and shows such an output as text.
    if table and "<script" not in table:
        whole = re.sub(r"\n\s*\n", "\n", table).strip()  # a blank line would end it
        return f'<div class="output">\n{whole}\n</div>'
    return _text("".join(data.get("text/plain", "")))


def _text(text: str) -> str:
    """Return printed text as a block, without its colours."""
    text = _COLOURS.sub("", text).rstrip()
    return f'<div class="output" markdown>\n\n{_fenced(text, "text")}\n\n</div>' if text else ""


def _fenced(text: str, language: str) -> str:
    """Return text as a block of code, whatever backticks are in it."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
