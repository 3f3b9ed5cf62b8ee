"""The live page as a person has it before them: the fixtures' hands and eyes."""

from vlmlens import live as lives
from vlmlens.datasets.shapes import Drawn, Scene, Shape
from vlmlens.sample import Sample

TOKEN = "a-token-of-tests"
QUESTION = "Is the purple shape left or right of the orange shape?"
SCENE = Scene(
    (
        Shape("square", "orange", x=0.70, y=0.35, radius=0.12),
        Shape("triangle", "purple", x=0.25, y=0.65, radius=0.11),
    )
)
#: Rows and columns of shapes-base's patches; the position of the first one in the prompt.
GRID, FIRST = 8, 4


def sample():
    """A question whose answer is a side."""
    return Sample(QUESTION, (Drawn(SCENE),))


def said(model, edits=()):
    """What the model says to that question, under edits."""
    return model.generate(model.inputs(sample()), list(edits), max_new_tokens=12).texts[0].strip()


def explorer(model):
    """A server in a thread, on a port of its own."""
    return lives.explore(model, sample(), token=TOKEN)


def ready(page):
    """Until the page has a state, and nothing is on the way."""
    page.wait_for_selector("body[data-ready=true]", timeout=60_000)
    painted(page)


def painted(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def after(page, act):
    """Do something, and wait for the state that it leads to."""
    before = page.locator("body").get_attribute("data-version")
    act()
    page.wait_for_selector(f"body:not([data-version='{before}'])", timeout=60_000)
    painted(page)


def press(page, name, within="main"):
    page.locator(within).get_by_role("button", name=name, exact=True).click()


def pressed(page, name, within="main"):
    after(page, lambda: press(page, name, within))


def over(page, row, column):
    """The middle of a patch, in the page's pixels."""
    page.locator("#seen").scroll_into_view_if_needed()
    box = page.locator("#seen").bounding_box()
    return (
        box["x"] + (column + 0.5) * box["width"] / GRID,
        box["y"] + (row + 0.5) * box["height"] / GRID,
    )


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    painted(page)
    page.mouse.up()
    painted(page)


def place(row, column):
    """A patch's position in the prompt."""
    return FIRST + GRID * row + column


def word(page, text):
    return page.locator(".vx-token", has_text=text).first


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def answers(page):
    """What is said, to its end: on a busy machine the page may have the first token alone."""
    for button in page.get_by_role("button", name="To its end").all():
        button.click()
        button.wait_for(state="detached")
    return page.locator(".said").all_inner_texts()


def codes(page):
    """The Python of each edit in the list."""
    return page.locator("#edits code").all_inner_texts()


def error(page):
    return page.locator("#message").inner_text() if page.locator("#error").is_visible() else ""


def until(page, holds, what):
    """Wait for something to hold; the page's policy forbids playwright's own way."""
    for _ in range(600):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not within half a minute: {what}")
