"""The files of the repository as pages of the site, and links between them."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: Pages that stand beside docs/, and where they are in the site.
BESIDE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
#: Where the pages are that show a file or a folder.
SOURCES = "source/"
#: A listed file beyond this size has no page unless one links to it: locks of thousands of lines.
MOST_BYTES = 40_000

# Code, which is left as it is, or the target of a link or an image.
_LINK = re.compile(
    r"(?P<code>^(?P<fence>```+|~~~+).*?^(?P=fence)[ \t]*$|(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`))"
    r"|(?<=\]\()(?P<target>[^)\s]+)(?=\))",
    re.MULTILINE | re.DOTALL,
)


def address_of(path: str) -> str:
    """Return where a file or folder of the repository is in the site, from its path."""
    if path in BESIDE:
        return BESIDE[path]
    if path == "docs" or path.startswith("docs/"):
        inside = path.removeprefix("docs").lstrip("/")
        if (ROOT / path).is_dir():
            return posixpath.join(inside, "README.md")
        return re.sub(r"\.ipynb$", ".md", inside)
    return f"{SOURCES}{path}{'/index' if (ROOT / path).is_dir() else ''}.md"


def path_of(address: str) -> str:
    """Return the path in the repository of a page of the site."""
    beside = {page: path for path, page in BESIDE.items()}
    return beside.get(address, f"docs/{address}")


def heading_name(text: str, separator: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", separator)


def links_of(markdown: str) -> Iterator[re.Match[str]]:
    """Yield the links of a page to files, without those to other hosts and within the page."""
    for match in _LINK.finditer(markdown):
        target = match["target"]
        if target and not re.match(r"[a-z]+:|#", target):
            yield match


def linked_path(target: str, address: str) -> str:
    """Return the path in the repository that a link of a page leads to."""
    folder = posixpath.dirname(path_of(address))
    return posixpath.normpath(posixpath.join(folder, unquote(target.partition("#")[0])))


def rewrite_links(markdown: str, address: str) -> str:
    """Return a page whose links to files of the repository lead to pages of the site."""
    folder = posixpath.dirname(address)
    parts, end = [], 0
    for match in links_of(markdown):
        path, anchor = linked_path(match["target"], address), match["target"].partition("#")[1:]
        # What is not there stays as it is: MkDocs names the page and the link.
        if (ROOT / path).exists():
            target = posixpath.relpath(address_of(path), folder or ".") + "".join(anchor)
            parts += [markdown[end : match.start()], target]
            end = match.end()
    return "".join([*parts, markdown[end:]])


def source_pages(texts: Mapping[str, str]) -> dict[str, str]:
    """Return, by address, a page for every file and folder that some pages link to."""
    paths = {
        linked_path(match["target"], address)
        for address, text in texts.items()
        for match in links_of(text)
    }
    shown = {path for path in paths if address_of(path).startswith(SOURCES)}
    shown = {path for path in shown if (ROOT / path).exists()}
    folders = {path for path in shown if (ROOT / path).is_dir()}
    for folder in folders:
        shown |= {path for path in _files_of(folder) if (ROOT / path).stat().st_size <= MOST_BYTES}
    return {
        address_of(path): _folder_page(path, shown) if path in folders else _file_page(path)
        for path in sorted(shown)
    }


def _files_of(folder: str) -> list[str]:
    """Return the paths of the files of a folder that are no leftovers of a tool."""
    found = (path for path in (ROOT / folder).iterdir() if path.is_file())
    return sorted(posixpath.join(folder, path.name) for path in found if path.name[0] != ".")


def _folder_page(path: str, shown: set[str]) -> str:
    """Return a page that lists a folder."""
    lines = [
        f"- [`{posixpath.basename(file)}`]({posixpath.basename(file)}.md)"
        if file in shown
        else f"- `{posixpath.basename(file)}`, {(ROOT / file).stat().st_size / 1000:,.0f} kB"
        for file in _files_of(path)
    ]
    return "\n".join([_head(f"{path}/"), "A folder of the repository.", "", *lines, ""])


def _file_page(path: str) -> str:
    """Return a page that shows a file, its lines numbered."""
    text = (ROOT / path).read_text(encoding="utf-8")
    try:
        language = get_lexer_for_filename(path).aliases[0]
    except ClassNotFound:
        language = "python" if path.endswith((".smk", "Snakefile")) else "text"
    fence = "`" * 8
    shown = f'{fence}{language} linenums="1"\n{text.rstrip()}\n{fence}\n'
    return f"{_head(path)}A file of the repository.\n\n{shown}"


def _head(path: str) -> str:
    """Return how a page begins that search leaves out."""
    return f"---\ntitle: {path}\nsearch: {{exclude: true}}\n---\n\n# `{path}`\n\n"
