"""The server: who may speak with it, what it takes, and what tabs do to one another."""

import io
import json
import struct
import zlib
from contextlib import contextmanager

import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketDenialResponse
from talking import SCENE, hosted

import vlmlens as vl
from vlmlens.errors import ImageError, InputError
from vlmlens.live import asking, pictures, serving
from vlmlens.live.guard import Guard
from vlmlens.live.pictures import Uploads, drawn
from vlmlens.zoo.tiny import build

PORT = 8123
HOME = f"http://127.0.0.1:{PORT}"
WS = HOME.replace("http", "ws")
EDIT = {"kind": "heads", "heads": [[0, 1]]}


@pytest.fixture(scope="module")
def host():
    with (
        pytest.MonkeyPatch.context() as patch,
        vl.HookedVLM(*build("llava"), name="tiny") as model,
    ):
        patch.setattr(asking, "TOKENS", 1)
        files = {"index.html": b"<!doctype html><head></head>"} | serving.page_files()
        patch.setattr(serving, "page_files", lambda: files)
        host = hosted(model)
        host.guard.port = PORT
        yield host
        host.close()


@pytest.fixture
def client(host):
    return TestClient(host.guard, base_url=HOME)


@contextmanager
def socket(client, host, **headers):
    """An open socket, and what asks over it and collects what is answered."""
    address = f"{WS}/socket?token={host.guard.token}"
    with client.websocket_connect(address, headers={"origin": HOME, **headers}) as line:
        numbers = iter(range(1, 1000))

        def ask(do, **message):
            number = next(numbers)
            line.send_text(json.dumps({"id": number, "do": do, **message}))
            while True:
                said = json.loads(line.receive_text())
                if "progress" not in said:
                    assert said["id"] == number
                    return said

        yield line, ask


def test_the_page_and_its_files_are_had_with_the_token(client, host):
    page = client.get("/", params={"token": host.guard.token})
    assert page.status_code == 200 and f'<base href="/{host.guard.token}/">' in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    script = client.get(f"/{host.guard.token}/static/values.js")
    assert script.status_code == 200 and script.headers["content-type"].startswith(
        "text/javascript"
    )


WRONG = {
    "no token": ("/", {}),
    "another token": ("/?token=wrong-token", {}),
    "two tokens": ("/?token={token}&token=wrong", {}),
    "a token that is no text": ("/?token=%ff", {}),
    "a path with another token": ("/wrong-token/static/values.js", {}),
    "files without one": ("/static/values.js", {}),
    "another host": ("/?token={token}", {"host": "evil.example"}),
    "another port": ("/?token={token}", {"host": "127.0.0.1:1"}),
    "another origin": ("/?token={token}", {"origin": "http://evil.example"}),
    "no origin at all": ("/?token={token}", {"origin": "null"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused(client, host, name):
    address, headers = WRONG[name]
    said = client.get(address.format(token=host.guard.token), headers=headers)
    assert said.status_code == 403 and set(said.json()) == {"error"}
    assert host.guard.token not in said.text


def test_this_machine_has_three_names(client, host):
    for name in ("localhost", "[::1]", "127.0.0.1"):
        here = f"{name}:{PORT}"
        said = client.get(
            "/",
            params={"token": host.guard.token},
            headers={"host": here, "origin": f"http://{here}"},
        )
        assert said.status_code == 200


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("wrong-token", {"origin": HOME}),
        ("", {"origin": HOME}),
        (None, {}),
        (None, {"origin": "http://evil.example"}),
        (None, {"origin": HOME, "host": "evil.example"}),
        (None, {"origin": "http://evil.example", "host": "evil.example"}),
    ],
)
def test_a_wrong_socket_is_refused(client, host, token, headers):
    before = len(host.sessions)
    address = f"{WS}/socket?token={host.guard.token if token is None else token}"
    with pytest.raises(Exception) as refused, client.websocket_connect(address, headers=headers):
        pass
    assert isinstance(refused.value, WebSocketDenialResponse) or refused.value.code == 1008
    assert len(host.sessions) == before


def test_sending_needs_an_origin(client, host):
    said = client.post("/picture", params={"token": host.guard.token}, content=b"")
    assert said.status_code == 403


@pytest.mark.parametrize(
    "path",
    (
        *(
            "../serving.py",
            "..%2fserving.py",
            "%2e%2e/serving.py",
            "/etc/passwd",
            "%2fetc%2fpasswd",
        ),
        *("..%5cserving.py", "serving.py", "index.html", "", "%00", "../../../plots/view.py"),
        *("..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "page%2findex.html"),
    ),
)
def test_no_path_can_be_read(client, host, path):
    said = client.get(f"/{host.guard.token}/static/{path}")
    assert said.status_code in (403, 404), said.text
    assert "import" not in said.text and "root:" not in said.text


def posted(client, host, data):
    return client.post(
        "/picture", params={"token": host.guard.token}, content=data, headers={"origin": HOME}
    )


def png(size, mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, 1).save(buffer, format="png")
    return buffer.getvalue()


def test_a_picture_is_uploaded_and_asked_about(client, host):
    name = posted(client, host, png((48, 32))).json()["upload"]
    with socket(client, host) as (_, ask):
        state = ask("picture", upload=name)["state"]
        assert (state["sample"]["width"], state["sample"]["height"]) == (48, 32)
        assert "scene" not in state["sample"]
        assert "upload it again" in ask("picture", upload="another")["error"]
        assert "upload or a scene" in ask("picture")["error"]


def test_what_is_too_large_or_no_picture_is_refused(client, host, monkeypatch):
    for data in (b"", b"GIF89a", b"<svg></svg>", png((8, 8))[:40]):
        assert "error" in posted(client, host, data).json()
        assert posted(client, host, data).status_code == 400
    monkeypatch.setattr(pictures, "MOST_PIXELS", 10_000)
    wide = posted(client, host, png((5000, 3), "1"))
    assert wide.status_code == 400 and "5000 x 3 pixels" in wide.json()["error"]
    monkeypatch.setattr(serving, "MOST_BYTES", 100)
    assert posted(client, host, bytes(101)).status_code == 413


def test_a_bomb_is_not_unpacked():
    small = png((8, 8))
    header = small[12:16] + struct.pack(">II", 60_000, 60_000) + small[24:29]
    huge = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    with pytest.raises(ImageError, match="24 million pixels"):
        Uploads().add(huge)


def test_old_uploads_make_room(monkeypatch):
    data = png((8, 8))
    monkeypatch.setattr(pictures, "MOST_KEPT", 3 * len(data))
    uploads = Uploads()
    names = [uploads.add(data) for _ in range(5)]
    assert uploads.get(names[-1]).data == data
    with pytest.raises(InputError, match="upload it again"):
        uploads.get(names[0])


@pytest.mark.parametrize(
    "scene",
    [
        *(None, [], "scene", [{}], [SCENE[0] | {"x": 2}], [SCENE[0] | {"radius": 0}], SCENE * 20),
        *([SCENE[0] | change] for change in ({"shape": "<b>"}, {"z": 1}, {"x": float("nan")})),
    ],
)
def test_a_scene_is_checked(scene):
    with pytest.raises(InputError):
        drawn(scene)


def test_two_tabs_do_not_see_each_other(client, host):
    with socket(client, host) as (_, one), socket(client, host) as (_, other):
        first = one("edit", edit=EDIT)["state"]
        second = other("open")["state"]
        assert len(first["edits"]) == 1 and second["edits"] == []
        assert first["session"] != second["session"]
        assert other("question", text="Is it red?")["state"]["sample"]["question"] == "Is it red?"
        assert one("open")["state"]["sample"]["question"] == first["sample"]["question"]


def test_a_tab_that_lost_its_line_goes_on_where_it_was(client, host):
    with socket(client, host) as (_, ask):
        before = ask("edit", edit=EDIT)["state"]
    with socket(client, host) as (_, ask):
        after = ask("open", session=before["session"])["state"]
        assert after["session"] == before["session"] and after["edits"] == before["edits"]
        assert ask("undo")["state"]["edits"] == []
    with socket(client, host) as (_, ask):
        assert ask("open", session="nobody's")["state"]["session"] != before["session"]


def test_a_tab_that_was_doubled_goes_on_by_itself(client, host):
    with socket(client, host) as (_, one):
        session = one("open")["state"]["session"]
        one("edit", edit=EDIT)
        with socket(client, host) as (_, other):
            doubled = other("open", session=session)["state"]
            assert len(doubled["edits"]) == 1 and doubled["undo"]
            assert doubled["origin"] == session != doubled["session"]
            other("edit", edit=EDIT)
            assert len(one("open", session=session)["state"]["edits"]) == 1
            assert len(other("undo")["state"]["edits"]) == 1
            assert other("undo")["state"]["edits"] == []
        assert one("open", session=session)["state"]["session"] == session
    with socket(client, host) as (_, again):  # once its page is gone
        assert again("open", session=session)["state"]["session"] == session


def test_what_is_no_number_is_answered_as_the_fault_that_it_is(client, host, monkeypatch, caplog):
    monkeypatch.setitem(serving.ACTIONS, "lens", lambda *_: {"layers": [float("nan")]})
    with socket(client, host) as (_, ask):
        assert "not JSON compliant" in ask("lens")["error"]
        assert "state" in ask("open")
    assert "lens" in caplog.text


def test_errors_are_answered_and_the_line_stays(client, host):
    with socket(client, host) as (line, ask):
        assert "no such request" in ask("fly")["error"]
        assert "no such request" in ask(["open"])["error"]
        assert "no layer 99" in ask("edit", edit=EDIT | {"heads": [[99, 0]]})["error"]
        assert "nothing to undo" in ask("undo")["error"]
        assert "1 to 4000 letters" in ask("question", text=" ")["error"]
        assert "half of a character" in ask("question", text="\ud800")["error"]
        for broken in ("{", "[" * 100_000, "7", '{"do": "open"}', '{"id": true, "do": "open"}'):
            line.send_text(broken)
            assert json.loads(line.receive_text())["id"] is None
        assert ask("open")["ok"]


def test_a_bug_is_shown_in_the_page_and_nothing_is_lost(client, host, monkeypatch, caplog):
    with socket(client, host) as (_, ask):
        ask("edit", edit=EDIT)

        def broken(*_):
            raise ZeroDivisionError("ours")

        with monkeypatch.context() as patch:
            patch.setattr(asking.Asking, "lens", broken)
            assert ask("lens", position=3, edited=False)["error"] == "ZeroDivisionError: ours"
        assert "Traceback" in caplog.text
        assert len(ask("open")["state"]["edits"]) == 1


def test_what_runs_can_be_called_off(client, host, monkeypatch):
    monkeypatch.setattr("vlmlens.live.sweeping.AT_ONCE", 1)
    with socket(client, host) as (line, ask):
        before = ask("edit", edit=EDIT)["state"]
        line.send_text(json.dumps({"id": 70, "do": "sweep", "what": "heads"}))
        assert "progress" in json.loads(line.receive_text())  # it has begun
        line.send_text(json.dumps({"id": 71, "do": "cancel", "of": 70}))
        said = [json.loads(line.receive_text())]
        while said[-1].get("id") != 70 or "progress" in said[-1]:
            said.append(json.loads(line.receive_text()))
        assert said[-1] == {"id": 70, "error": "cancelled", "cancelled": True}
        assert {"id": 71, "ok": True} in said
        assert ask("open")["state"]["edits"] == before["edits"]
        assert ask("sweep", what="heads")["ok"]  # and the next one runs to its end


@pytest.mark.parametrize(
    "token", ["", "short", "has space in it", "with/slash-in-it", "ünïcödé-token"]
)
def test_a_token_is_long_and_part_of_an_address(token):
    with pytest.raises(InputError, match="at least 8"):
        Guard(lambda *_: None, token)
