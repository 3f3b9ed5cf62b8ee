"""The live page and its server: several tabs, work that is called off, a server that dies."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from children import HOME, LIMIT, line_of

from browser.live_pages import (
    SCENE,
    TOKEN,
    after,
    answers,
    codes,
    error,
    painted,
    press,
    pressed,
    until,
)

pytestmark = pytest.mark.slow

SERVER = """
import sys, time
import torch
import vlmlens as vl
from browser.live_pages import sample
from vlmlens import live as lives
torch.set_num_threads(1)
model = vl.HookedVLM.from_pretrained("shapes-base")
view = lives.explore(model, sample(), port=int(sys.argv[1]), token=sys.argv[2])
print(view.address, flush=True)
while True:
    time.sleep(1)
"""


class Served:
    """A server in a process of its own, which can be killed and started again."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self):
        words = [sys.executable, "-c", SERVER, str(self.port), TOKEN]
        paths = f"{HOME}:{__file__.rpartition('/browser/')[0]}"
        env = os.environ | {"PYTHONPATH": paths}
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env, cwd=HOME)
        return line_of(self.process)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=LIMIT)
        self.process.stdout.close()


@pytest.fixture
def served():
    server = Served()
    yield server
    server.kill()


@pytest.fixture
def dawdling(shapes):
    """Every block of the language model takes a while longer."""
    layers = shapes.hf_model.get_submodule(shapes.family.lm_layers)
    hooks = [layer.register_forward_pre_hook(lambda *_: time.sleep(0.6)) for layer in layers]
    yield
    for hook in hooks:
        hook.remove()


def test_two_tabs_do_not_know_of_each_other(lived, explored):
    one = lived(explored.address)
    other = lived(explored.address, context=one.context)
    pressed(one, "Mirror", "#region")
    pressed(other, "Collapse", "#region")
    pressed(other, "Shuffle", "#region")
    assert (len(codes(one)), len(codes(other))) == (1, 2)
    assert codes(one)[0] not in codes(other)


def test_what_takes_long_says_how_far_it_is_and_is_called_off(lived, explored, dawdling, shot):
    page = lived(explored.address)
    until(page, lambda: page.locator("#lens td").count(), "the page's own questions")
    page.wait_for_timeout(3000)  # those about attention
    press(page, "Try each head")
    page.wait_for_selector("#work:visible")
    shot(page, "live-work")
    press(page, "Cancel", "#work")
    page.wait_for_selector("#work", state="hidden", timeout=10_000)
    assert error(page) == ""
    assert page.locator("[data-which=effect]").is_hidden()
    pressed(page, "Mirror", "#region")  # the next thing goes its way
    assert len(codes(page)) == 1


def test_a_page_that_is_opened_again_goes_on_where_it_was(lived, explored):
    page = lived(explored.address)
    pressed(page, "Mirror", "#region")
    kept = codes(page)
    page.reload()
    page.wait_for_selector("body[data-ready=true]")
    until(page, lambda: codes(page) == kept, "the edit that was there")
    assert page.locator("#undo").is_enabled()


def test_a_server_that_was_killed_and_started_anew_is_told_everything_again(
    lived, served, tmp_path
):
    lived.excused += ["WebSocket connection to", "ERR_CONNECTION_REFUSED"]
    page = lived(served.start())
    page.locator("#question").fill("Is the orange shape left or right of the purple shape?")
    pressed(page, "Ask")
    pressed(page, "Mirror image")
    pressed(page, "patch layer 1")
    page.locator("#ranking .vx-pick").first.click()
    pressed(page, "Knock out")
    before = codes(page), answers(page)
    served.kill()
    page.wait_for_selector("body[data-ready=false]")
    assert "nothing is lost" in page.locator("#status").inner_text()
    pressing = page.get_by_role("button", name="Collapse")
    pressing.click()
    page.wait_for_selector("#error:visible")
    assert "does not answer" in error(page)
    assert codes(page) == before[0]
    served.start()
    page.wait_for_selector("body[data-ready=true]", timeout=60_000)
    painted(page)
    assert (codes(page), answers(page)) == before
    pressed(page, "Collapse", "#region")
    assert len(codes(page)) == len(before[0]) + 1


def test_a_new_server_is_told_large_pictures_in_full_or_the_loss_is_said(lived, served, tmp_path):
    lived.excused += ["WebSocket connection to", "ERR_CONNECTION_REFUSED"]
    page = lived(served.start())
    wide = tmp_path / "wide.png"
    SCENE.draw(1000).save(wide)
    after(page, lambda: page.locator("#file").set_input_files(wide))
    after(page, lambda: page.get_by_label("second picture file").set_input_files(wide))
    sizes = (
        "import(document.baseURI + 'static/store.js').then(({ view: { state: { sample } } }) =>"
        " [sample.width, ...sample.second_size])"
    )
    for loaded, width in ((False, 1000), (True, 768)):
        if loaded:  # what was sent does not outlive the page
            page.reload()
            page.wait_for_selector("body[data-ready=true]", timeout=60_000)
        served.kill()
        page.wait_for_selector("body[data-ready=false]")
        served.start()
        page.wait_for_selector("body[data-ready=true]", timeout=60_000)
        painted(page)
        assert page.evaluate(sizes) == [width, width, width]
        assert ("the full size of the second picture" in error(page)) == loaded
