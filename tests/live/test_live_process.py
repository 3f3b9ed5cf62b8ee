"""The real server: on this machine alone, gone with its parent; the model is left clean."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from as_users import as_users
from children import line_of, ran, until
from conftest import picture
from talking import QUESTION
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

import vlmlens as vl
from vlmlens.errors import InputError, MissingToolError
from vlmlens.zoo.tiny import build

STARTS = "from vlmlens.cli import run; run()"
EDIT = {"kind": "heads", "heads": [[0, 1]]}


def parts(address):
    home, _, token = address.partition("/?token=")
    return home, token


def status(address, **headers):
    try:
        with urlopen(Request(address, headers=headers), timeout=30) as said:
            return said.status
    except HTTPError as error:
        return error.code


def talked(address, *requests):
    """What a page's socket is answered, one request after the other."""
    home, token = parts(address)

    where = f"{home.replace('http', 'ws')}/socket?token={token}"
    answers = []
    with connect(where, origin=home, open_timeout=30, proxy=None) as line:
        for number, request in enumerate(requests):
            line.send(json.dumps({"id": number, **request}))
            while "progress" in (said := json.loads(line.recv(60))):
                pass
            answers.append(said)
    return answers


def hooks(model):
    """Hooks of ours on the model's modules; transformers leaves some of its own on them."""
    kept = (
        [*m._forward_pre_hooks.values(), *m._forward_hooks.values()]
        for m in model.hf_model.modules()
    )
    return [hook for each in kept for hook in each if hook.__module__.startswith("vlmlens")]


@pytest.mark.slow
def test_from_python_until_it_is_closed():
    with vl.HookedVLM(*build("llava"), name="tiny") as model:
        sample = vl.Sample(QUESTION, picture(1))
        clean = model.run(model.inputs(sample)).logits
        with vl.plots.explorer(model, sample) as view:
            assert view.edits == () and view.code == "" and hooks(model)
            answers = talked(view.address, {"do": "open"}, {"do": "edit", "edit": EDIT})
            assert answers[1]["state"]["edits"][0]["label"] == "knock out L0 H1"
            assert [type(edit).__name__ for edit in view.edits] == ["ZeroAblate"]
            assert "ZeroAblate(" in view.code
            home, token = parts(view.address)
            assert status(f"{home}/?token=wrong") == 403
            assert status(f"{home}/static/values.js") == 403
            assert status(f"{home}/{token}/static/values.js") == 200
            assert status(f"{home}/{token}/static/values.js", Host="evil.example") == 403
            assert f'src="{view.address}"' in view._repr_html_()
            model.run(model.inputs(sample))  # the notebook's own runs take turns with the page's
        assert not hooks(model) and model.shared is None
        assert (model.run(model.inputs(sample)).logits == clean).all()
        with pytest.raises(OSError, match="refused"):
            urlopen(view.address, timeout=30)
        view.close()  # again: nothing happens
    assert not [each for each in threading.enumerate() if each.name.startswith("vlmlens-live")]


def test_it_listens_on_this_machine_alone():
    with vl.HookedVLM(*build("llava")) as model, vl.live.explore(model) as view:
        port = int(parts(view.address)[0].rpartition(":")[2])
        with closing(socket.socket()) as one:
            one.settimeout(5)
            assert one.connect_ex(("127.0.0.1", port)) == 0
        with closing(socket.socket()) as other:
            other.settimeout(5)
            assert other.connect_ex(("127.0.0.2", port)) != 0  # this machine by another name
        with pytest.raises(InputError, match=f"port={port} of 127.0.0.1 cannot be had"):
            vl.live.explore(model, port=port)


def test_it_is_left_clean_in_the_middle_of_work(monkeypatch):
    begun = threading.Event()
    monkeypatch.setattr("vlmlens.live.sweeping.AT_ONCE", 1)
    with vl.HookedVLM(*build("llava")) as model:
        view = vl.live.explore(model)
        real = model.resume

        def slowly(*args, **how):
            begun.set()
            return real(*args, **how)

        monkeypatch.setattr(model, "resume", slowly)
        asking = threading.Thread(target=_swept, args=(view.address,), daemon=True)
        asking.start()
        assert begun.wait(60)
        view.close()
        asking.join(60)
        assert not asking.is_alive()
        assert not hooks(model) and model.shared is None


def _swept(address):
    with suppress(WebSocketException):  # the server goes away
        talked(address, {"do": "sweep", "what": "heads"})


def test_what_is_no_model_or_no_sample_is_refused():
    with as_users(), pytest.raises(InputError, match="takes a model, as"):
        vl.live.explore(build("llava")[0])
    with as_users(), vl.HookedVLM(*build("llava")) as model:
        with pytest.raises(InputError, match=r"takes a Sample\(question"):
            vl.plots.explorer(model, "What?")
        with pytest.raises(InputError, match="one question about a picture"):
            vl.live.explore(model, vl.Sample("What?"))
        with pytest.raises(InputError, match="title"):
            vl.plots.explorer(model, title="mine")
        with pytest.raises(InputError, match="at least 8"):
            vl.live.explore(model, token="short")
        assert model.shared is None
    with vl.HookedVLM(build("llava")[0]) as model, pytest.raises(InputError, match="processor"):
        vl.live.explore(model)


def test_the_extra_is_named_where_it_is_missing(monkeypatch, vlmlens_says):
    monkeypatch.setattr("vlmlens.extras.find_spec", lambda name: None)
    needs = pytest.raises(MissingToolError, match="needs starlette")
    with vl.HookedVLM(*build("llava")) as model, needs:
        vl.live.explore(model)
    code, _, said = vlmlens_says("explore", "shapes-base")
    assert code == 2 and "needs starlette" in said and "[app]" in said


def test_the_command_refuses_before_it_opens_anything(tmp_path, vlmlens_says):
    code, _, said = vlmlens_says("explore", "shapes-base", "--question", "What?")
    assert code == 2 and "--image" in said
    (tmp_path / "no.png").write_text("no picture")
    code, _, said = vlmlens_says("explore", "shapes-base", "--image", tmp_path / "no.png")
    assert code == 2 and "no.png" in said


def test_the_command_speaks_before_it_imports_anything_large():
    code = f"import sys; sys.modules['torch'] = None; {STARTS}"
    done = ran(sys.executable, "-c", code, "explore", "shapes-base", status=None)
    assert done.returncode != 0  # as torch cannot be imported
    assert done.stderr.startswith("Opening shapes-base ...") and not done.stdout


@contextmanager
def started(*words):
    """The command, which prints its address when it listens."""
    command = [sys.executable, "-c", STARTS, "explore", "shapes-base", *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(way, tmp_path):
    picture(2).save(tmp_path / "one.png")
    words = ("--image", tmp_path / "one.png", "--question", QUESTION, "--token", "my-own-token")
    with started(*words) as process:
        address = line_of(process)
        assert address.endswith("/?token=my-own-token")
        (said,) = talked(address, {"do": "open"})
        assert said["state"]["sample"]["question"] == QUESTION
        process.send_signal(way)
        assert process.wait(timeout=60) in (0, 128 + way)
        with pytest.raises(OSError, match="refused"):
            urlopen(address, timeout=30)
        assert "Traceback" not in process.stdout.read()


#: Starts the command and says which process it is; it is killed without a word to that.
LEAVES = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
for line in child.stdout:
    if line.startswith("http://"):
        print(child.pid, line, flush=True)
"""


@pytest.mark.slow
def test_it_stops_with_its_parent():
    command = [sys.executable, "-c", LEAVES, sys.executable, "-c", STARTS, "explore", "shapes-base"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        number, address = line_of(parent).split()
        child = int(number)
        assert "error" not in talked(address, {"do": "open"})[0]
        parent.kill()
        until(lambda: not _lives(child), "the server ends when its parent has ended", 60)


def _lives(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        return state.rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_processes_can_be_told_apart():
    assert _lives(os.getpid()) and not _lives(2**22 + 1)
