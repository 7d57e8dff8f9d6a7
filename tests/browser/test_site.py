"""The documentation as a site: built once, warnings as errors, read, and looked at in a browser."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect

import samedge

DESKTOP, PHONE = (1280, 900), (390, 844)
NOTEBOOK = "zz_placeholder"
#: A picture of one pixel, as a notebook keeps it.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADU"
    "lEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def cell(kind, source, **more):
    return {"cell_type": kind, "metadata": {}, "source": source, **more}


def output(kind, **more):
    return {"output_type": kind, **more}


CELLS = [
    cell(
        "markdown",
        ["# A placeholder\n", "See [the method](../method.md#the-edge-of-sam) and $2/\\eta$."],
    ),
    cell(
        "code",
        ["print('```')\n", "1 / eta"],
        execution_count=1,
        outputs=[
            output("stream", name="stdout", text=["\x1b[31m```\x1b[0m\n"]),
            output("display_data", data={"image/png": PIXEL}, metadata={}),
            output("execute_result", data={"text/html": "<table>\n\n<tr><td>7</td></tr></table>"}),
            output(
                "execute_result", data={"text/html": "<script>1</script>", "text/plain": "<Run>"}
            ),
        ],
    ),
]


class Reader(HTMLParser):
    """What a page names: its anchors, links, and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag == "link" or "src" in attributes:
            self.loads.append(attributes.get("href") or attributes["src"])


@pytest.fixture(scope="module")
def site(repository, tmp_path_factory):
    """Return the folder of the site, built from a copy of the pages with one notebook more."""
    root = tmp_path_factory.mktemp("checkout")
    copied = {"docs", "tools", "mkdocs.yml"}
    for path in repository.iterdir():
        if path.is_dir() and path.name in copied:
            shutil.copytree(path, root / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name in copied:
            shutil.copy(path, root)
        elif path.name[0] != ".":
            (root / path.name).symlink_to(path)
    tutorials = root / "docs" / "tutorials"
    tutorials.mkdir(exist_ok=True)
    notebook = {"cells": CELLS, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tutorials / f"{NOTEBOOK}.ipynb").write_text(json.dumps(notebook))
    folder = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        # Told to be quiet, MkDocs counts no warnings.
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=root,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Return every page but that of what is not found, which stands for any address."""
    return {
        path: Reader(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }


def text_of(site, page):
    return (site / page).read_text(encoding="utf-8")


def test_every_link_and_picture_of_the_site_leads_somewhere(site, pages):
    assert len(pages) > 40
    lost = []
    for path, page in pages.items():
        for address in (*page.links, *page.loads):
            parts = urlsplit(address)
            if parts.scheme or address.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            found = target.is_file() and target.is_relative_to(site.resolve())
            if found and anchor and target in pages:
                found = anchor in pages[target].anchors
            if not found:
                lost.append((str(path.relative_to(site)), address))
    assert not lost


def test_nothing_is_loaded_from_another_host(site, pages):
    for path, page in pages.items():
        assert not [address for address in page.loads if urlsplit(address).scheme], path
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", text), path
    # The theme takes the script of its diagrams from elsewhere, for pages that have any.
    assert not [path for path in pages if 'class="mermaid"' in path.read_text(encoding="utf-8")]


def formulas_in(markdown):
    """Return the formulas of a page of Markdown."""
    code = r"^(```+).*?^\1 *$|(`+)(?!`).+?(?<!`)\2(?!`)"
    prose = re.sub(code, "", markdown, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\$\$.+?\$\$|\$[^$\s](?:[^$]*[^$\s])?\$", prose, re.DOTALL)


def test_every_formula_is_mathml(repository, site, pages):
    counted = 0
    for path in (repository / "docs").rglob("*.md"):
        inside = path.relative_to(repository / "docs").with_suffix(".html")
        page = text_of(site, inside.with_name(inside.name.replace("README", "index")))
        formulas = formulas_in(path.read_text(encoding="utf-8"))
        assert page.count("<math ") == len(formulas), path
        counted += len(formulas)
    assert counted > 200
    for path in pages:
        page = path.read_text(encoding="utf-8")
        assert 'class="arithmatex"' not in page and "<merror" not in page, path
        for formula in re.findall(r"<math .*?</math>", page, re.DOTALL):
            assert "\\" not in re.sub(r'alttext="[^"]*"', "", formula), formula


@pytest.mark.parametrize("tex", [r"\unheard{x}", r"\begin{aligned}a&=b\end{aligned}", r"\left(x"])
def test_a_formula_that_is_not_converted_is_an_error(repository, monkeypatch, tex):
    monkeypatch.syspath_prepend(repository / "tools" / "site")
    formulas = importlib.import_module("formulas")
    assert "<mi>x</mi>" in formulas.to_mathml(r'<span class="arithmatex">\(x\)</span>')
    with pytest.raises(formulas.FormulaError, match="formula"):
        formulas.to_mathml(rf'<span class="arithmatex">\({tex}\)</span>')


def test_all_that_the_package_offers_is_on_the_reference(site, pages):
    anchors = set().union(*(pages[path].anchors for path in (site / "reference").glob("*.html")))
    index = text_of(site, "reference/index.html")
    for name in samedge.__all__:
        assert f"samedge.{name}" in anchors or f"<code>samedge.{name}</code>" in index, name
    described = {name for name in samedge.__all__ if f"samedge.{name}" in anchors}
    assert set(samedge.__all__) - described == {"__version__", "edge", "hessian", "monitor", "sam"}


def test_what_extending_imports_is_on_the_reference(repository, site, pages):
    text = (repository / "docs" / "extending.md").read_text(encoding="utf-8")
    anchors = set().union(*(pages[path].anchors for path in (site / "reference").glob("*.html")))
    imports = re.findall(r"^from (samedge\.[\w.]+) import (.+)$", text, re.MULTILINE)
    assert len(imports) > 5
    for module, names in imports:
        for name in names.split(", "):
            # What the package offers itself stands there under that name.
            assert anchors & {f"{module}.{name}", f"samedge.{name}"}, (module, name)


def test_docstrings_are_read_as_they_are_meant(site):
    for page in (site / "reference").glob("*.html"):
        text = re.sub(
            r"<details.*?</details>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL
        )
        assert not re.search(r":(func|class|mod|data|meth|attr|math):", text), page
        assert "``" not in text and "::<" not in text, page
    monitor = text_of(site, "reference/measuring.html")
    # A return value without a type of its own takes that of the signature.
    assert "What was measured, each a float" in monitor
    # A role that names something described here is a link.
    assert re.search(
        r'<a [^>]*href="#samedge\.Eigenpairs"[^>]*><code>Eigenpairs</code></a>', monitor
    )
    # What extending.md builds on has descriptions beside names, in one line.
    components = text_of(site, "reference/components.html")
    assert re.search(r"<b>|<code>|<strong>", components)
    assert "how many images or characters are wanted" in components


def test_a_name_of_the_package_leads_to_its_description(site):
    """Not where it is part of a link already."""
    page = text_of(site, "numbers.html")
    monitor = '<a [^>]*href="reference/measuring.html#samedge.Monitor"[^>]*><code>samedge.Monitor'
    assert re.search(monitor, page)
    assert re.search(
        r'<a href="extending.html#[^"]*"><code>samedge.top_eigenpairs</code></a>', page
    )


def test_notebooks_are_pages_with_their_outputs(site):
    page = text_of(site, f"tutorials/{NOTEBOOK}.html")
    assert "Tutorials" in text_of(site, "index.html")
    assert 'href="../method.html#the-edge-of-sam"' in page and "<math " in page
    assert '<img alt="Output of the cell above"' in page
    assert (site / f"tutorials/{NOTEBOOK}_1.png").read_bytes().startswith(b"\x89PNG")
    assert "<td>7</td>" in page
    assert "&lt;Run&gt;" in page and "<script>1</script>" not in page
    assert "\x1b" not in page


def test_the_rules_are_drawn(site):
    page = text_of(site, "workflow.html")
    assert page.count("<rect ") > 10
    assert re.search(r"<text [^>]*>train_run</text>", page)


@pytest.fixture
def visit(chromium, site):
    """Return a function that opens a page of the site from its file.

    At the end, no page may have asked for anything outside of the site, nor had an error.
    """
    contexts, asked, complaints = [], [], []

    def opener(page, size=DESKTOP, scheme="light"):
        phone = size[0] < 500
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            has_touch=phone,
            is_mobile=phone,
            color_scheme=scheme,
        )
        contexts.append(context)
        opened = context.new_page()
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on(
            "console", lambda message: message.type == "error" and complaints.append(message.text)
        )
        opened.goto((site / page).as_uri())
        return opened

    yield opener
    for context in contexts:
        context.close()
    inside = (site.as_uri(), "data:", "blob:")
    assert not [url for url in asked if not url.startswith(inside)]
    assert not complaints


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_scrolls_sideways(site, pages, visit, size):
    """Tables, code and long formulas scroll by themselves."""
    page = visit("source/workflow/rules/train.smk.html", size)
    looked_at = [path for path in sorted(pages) if site / "source" not in path.parents]
    for path in looked_at:
        page.goto(path.as_uri())
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], path


def test_search_works_from_the_files(visit):
    page = visit("index.html")
    page.get_by_role("textbox", name="Search").press_sequentially("Lanczos")
    expect(page.locator(".md-search-result__item").first).to_be_visible(timeout=60_000)
    links = page.locator(".md-search-result__item a").evaluate_all("all => all.map(a => a.href)")
    assert any("method.html" in link for link in links)
    assert not any("/source/" in link for link in links)


def test_formulas_are_drawn_and_bars_stretch(visit):
    page = visit("method.html")
    formula = page.locator("math[display=block]", has_text="∇").first
    assert formula.bounding_box()["height"] > 25
    assert page.locator("math[display=inline]").first.bounding_box()["height"] > 5


def test_figures_stand_on_white_in_dark_colours(visit):
    page = visit("index.html", scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", dark)[:3])) < 60
    figure = page.locator("article img").first
    assert figure.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
