"""A real browser, and pages in it that may not leave the machine."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Root has no sandbox, containers little shared memory, and a test no use for Chromium's errands.
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
)
#: Screenshots are kept here to be looked at.
SHOTS = Path(os.environ.get("VLMLENS_SCREENSHOTS", "results/screenshots"))


@pytest.fixture(scope="session")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium here: on Debian, apt-get install chromium")
    if not find_spec("playwright"):
        pytest.skip("playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def opened(browser, request):
    """Opens a file; whatever the page complains of, or asks of a network, fails the test."""
    contexts, wrong = [], []

    def open_page(path, *, dark=False, width=1240, height=900):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            device_scale_factor=1,
        )
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda line: line.type in ("error", "warning") and wrong.append(line.text)
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: _leaves(asked.url) and wrong.append(asked.url))
        page.goto(Path(path).resolve().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong, wrong


def _leaves(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:", "about:"))


@pytest.fixture
def drawn():
    """Goes past every figure of a page, folded ones too, until all are drawn; gives them."""

    def all_of(page):
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        figures = page.locator(".plotly-graph-div")
        for at in range(figures.count()):
            figures.nth(at).scroll_into_view_if_needed()
            figures.nth(at).locator(".main-svg").first.wait_for(state="attached")
        return figures

    return all_of


@pytest.fixture
def shot():
    def keep(page, name):
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    return keep


@pytest.fixture(scope="session")
def shapes():
    import vlmlens as vl

    return vl.HookedVLM.from_pretrained("shapes-base")


@pytest.fixture(scope="session")
def explored(shapes):
    """A live explorer of shapes-base; each page that is opened has a session of its own."""
    for name in ("starlette", "uvicorn", "websockets"):
        pytest.importorskip(name, reason="pip install 'vlmlens[app]'")
    from browser.live_pages import explorer

    with explorer(shapes) as view:
        yield view


@pytest.fixture
def lived(browser):
    """Opens a live page by its address; its complaints, and requests elsewhere, fail the test.

    ``lived.excused`` holds parts of complaints that the test itself brings about.
    """
    from browser.live_pages import ready

    contexts, wrong = [], []

    def open_page(address, *, dark=False, width=1280, height=900, context=None):
        if context is None:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                permissions=["clipboard-read", "clipboard-write"],
            )
            contexts.append(context)
        page = context.new_page()
        home = address.partition("?")[0].removeprefix("http://")
        page.on(
            "console", lambda line: line.type in ("error", "warning") and wrong.append(line.text)
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: _elsewhere(asked.url, home) and wrong.append(asked.url))
        page.goto(address)
        ready(page)
        return page

    open_page.excused = []
    yield open_page
    for context in contexts:
        context.close()
    left = [line for line in wrong if not any(part in line for part in open_page.excused)]
    assert not left, left


@pytest.fixture
def page(lived, explored):
    """A fresh page of it."""
    return lived(explored.address)


def _elsewhere(url: str, home: str) -> bool:
    return not url.startswith(("data:", "blob:", f"http://{home}", f"ws://{home}"))
