"""What MkDocs does not do by itself: pages from beside docs/, sources, formulas, tutorials.

The pages of the repository are written for a reader of its files. Here README.md and CHANGELOG.md
join those of docs/, a link to any other file of the repository leads to a page that shows it, TeX
becomes MathML, a Mermaid diagram becomes a picture, and notebooks become pages with the outputs
that are stored in them. Nothing is fetched, when the site is built or when it is read.
"""

import re
from pathlib import Path

import diagrams
import formulas
import notebooks
import reference
import repository
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ASSETS = ("site.css", "iframe-worker.js")
#: A picture that is not itself a link.
PICTURE = re.compile(r'(?<!">)<img [^>]*src="(?P<address>[^"]+)"[^>]*>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give notebooks a section of their own, after the first one, and headings GitHub's names."""
    config.mdx_configs["toc"]["slugify"] = repository.heading_name
    found = notebooks.in_order(repository.DOCS)
    if found:
        pages = [f"{notebooks.FOLDER}/{path.stem}.md" for path in found]
        index = f"{notebooks.FOLDER}/README.md"
        if (repository.DOCS / index).exists():
            pages.insert(0, index)
        config.nav.insert(1, {"Tutorials": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand beside docs/ or are made here, and the site's own assets."""

    def add(address: str, content: str | bytes) -> None:
        files.append(File.generated(config, address, content=content))

    here = Path(__file__).parent
    for name in ASSETS:
        add(f"assets/{name}", (here / name).read_text(encoding="utf-8"))
    written = {
        address: (repository.ROOT / path).read_text(encoding="utf-8")
        for path, address in repository.BESIDE.items()
    }
    written |= reference.pages()
    for path in notebooks.in_order(repository.DOCS):
        files.remove(files.get_file_from_path(f"{notebooks.FOLDER}/{path.name}"))
        text, pictures = notebooks.page(path)
        written[f"{notebooks.FOLDER}/{path.stem}.md"] = text
        for name, content in pictures.items():
            add(f"{notebooks.FOLDER}/{name}", content)
    for address, text in written.items():
        add(address, text)
    texts = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for address, text in repository.source_pages(texts).items():
        add(address, text)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to pages of the site, and names to the reference; draw diagrams."""
    address = page.file.src_uri
    if address.startswith(repository.SOURCES):
        return markdown
    markdown = repository.rewrite_links(markdown, address)
    if not address.startswith("reference/"):
        markdown = reference.link_names(markdown)
    return diagrams.draw(markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn formulas into MathML, and let a click on a picture show it in its own size."""
    try:
        html = formulas.to_mathml(html)
    except formulas.FormulaError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from None
    return PICTURE.sub(r'<a href="\g<address>">\g<0></a>', html)
