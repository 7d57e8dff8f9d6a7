"""A browser for the tests of pages: Chromium, without a window and without a network."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # for its synthetic runs

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1280, 900), (360, 740)
Opener = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Return Chromium; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"pages in a browser: no Chromium ({', '.join(NAMES)}) on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Opener]:
    """Return a function that opens a local file in a page of its own.

    At the end, no page may have asked for anything but its file and what is within it, and none
    may have had an error.
    """
    contexts, asked, complaints, files = [], [], [], set()

    def opener(path: Path, fragment: str = "", size: tuple[int, int] = DESKTOP) -> Page:
        width, height = size
        phone = width < 500
        context = chromium.new_context(
            viewport={"width": width, "height": height}, has_touch=phone, is_mobile=phone
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: message.type == "error" and complaints.append(message.text),
        )
        address = path.resolve().as_uri()
        files.add(address)
        page.goto(address + fragment)
        return page

    yield opener
    for context in contexts:
        context.close()
    elsewhere = [
        url for url in asked if url not in files and not url.startswith(("data:", "blob:"))
    ]
    assert not elsewhere
    assert not complaints
