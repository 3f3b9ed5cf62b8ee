"""How the live page looks and reads: widths, light and dark, contrast, names of everything."""

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import vlmlens
from browser.live_pages import after, drag, over, press, pressed
from vlmlens.palette import ROLE_COLOURS

PAGE = Path(vlmlens.__file__).parent / "live" / "page"
#: The checker of accessibility that is fetched by name, where npm is; its licence is MPL-2.0.
AXE = "axe-core@4.10.2"
#: Of plain text, WCAG 2.1 AA.
CONTRAST = 4.5

#: Every text that can be read, with its colour and the first ground behind it that is not clear.
TEXTS = """() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const rgb = number(getComputedStyle(node).backgroundColor);
      if (rgb.length < 4 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter((node) => node.checkVisibility() && !node.disabled && !node.closest("svg, td"))
    .filter((node) => [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim()))
    .map((node) => [node.textContent, number(getComputedStyle(node).color), ground(node)]);
}"""


def luminance(rgb):
    parts = [c / 255 for c in rgb[:3]]
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def busy(page):
    """A page with something in every card."""
    press(page, "Try each head")
    page.wait_for_selector("[data-which=effect]:visible")
    page.locator("#ranking .vx-pick").first.click()
    pressed(page, "Knock out")
    pressed(page, "Mirror image")
    pressed(page, "patch layer 1")
    press(page, "Try each layer")
    page.wait_for_selector(".rise", state="attached")
    drag(page, over(page, 2, 2), over(page, 4, 4))
    after(page, lambda: page.locator("#region button", has_text="must not read").click())
    press(page, "Copy as code", "header")
    page.wait_for_selector("#code:visible")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(300)


def test_nothing_of_the_page_needs_what_a_strict_policy_forbids():
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! (type=\"module\" )?src=)", page)
    for script in PAGE.glob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\b|Function\(", text)
        assert len(text.splitlines()) <= 300, script.name


def test_words_have_the_colours_of_their_roles():
    style = (PAGE / "cards.css").read_text(encoding="utf-8")
    given = dict(re.findall(r'\[data-role="(\w+)"\] \{ border-bottom-color: (#\w+)', style))
    assert given == {role: c.lower() for role, c in ROLE_COLOURS.items() if role != "pad"}


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [420, 1280, 2560])
def test_nothing_is_wider_than_the_page_and_all_text_can_be_read(
    lived, explored, shot, width, dark
):
    page = lived(explored.address, width=width, dark=dark)
    shot(page, f"live-{'dark' if dark else 'light'}-{width}-fresh")
    busy(page)
    shot(page, f"live-{'dark' if dark else 'light'}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    texts = page.evaluate(TEXTS)
    assert len(texts) > 60
    faint = {text: round(contrast(a, b), 2) for text, a, b in texts if contrast(a, b) < CONTRAST}
    assert not faint


@pytest.mark.slow
def test_everything_that_acts_has_a_name_and_can_be_reached_with_tab(lived, explored):
    page = lived(explored.address)
    busy(page)
    reached = set()
    page.locator("#undo").focus()
    for _ in range(120):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.outerHTML"))
        page.keyboard.press("Tab")
    there = page.evaluate(
        """() => [...document.querySelectorAll("button, input, canvas[tabindex]")]
          .filter((node) => node.checkVisibility() && !node.disabled)
          .map((node) => [node.id || node.outerHTML,
            node.getAttribute("aria-label") || node.textContent || node.labels[0].textContent])"""
    )
    assert not [node for node, name in there if not (name or "").strip()]
    assert not [node for node, _ in there if node not in reached]


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("axe-core is fetched with npm, which is not here")
    try:
        done = subprocess.run([npm, "pack", AXE, "--silent"], cwd=folder, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not bring {AXE} within two minutes")
    if done.returncode:
        pytest.skip(f"npm could not bring {AXE}")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        return packed.extractfile("package/axe.min.js").read().decode()


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_serious_violation(lived, explored, axe, dark):
    page = lived(explored.address, dark=dark)
    busy(page)
    page.evaluate(f"() => {{ {axe} }}")
    found = page.evaluate("axe.run().then((result) => result.violations)")
    serious = [
        (rule["id"], [node["html"][:120] for node in rule["nodes"][:3]])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
    assert not serious
