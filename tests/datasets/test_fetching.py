"""Sets from the hub, for which a server here stands: verified, resumable, whole or not at all."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from published_files import PUBLISHED, VSR_ROW, encoded
from typer.testing import CliRunner

from vlmlens import cli, datasets
from vlmlens.datasets.benchmarks import BENCHMARKS, manifest
from vlmlens.errors import DataError, FetchError, UnreachableError

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The two things that are asked of the hub: what a repository holds, and a file of it."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlparse(self.path).path)
        if path.startswith("/train2017/"):
            self.server.asked.append((self.command, path))
            there = path in self.server.pictures
            return self._send(
                200 if there else 404, self.server.pictures.get(path, b""), "image/jpeg"
            )
        if path == f"/api/datasets/{self.server.repo}":
            siblings = [self._told(name, data) for name, data in self.server.files.items()]
            told = {"id": self.server.repo, "sha": SHA, "siblings": siblings, "private": False}
            return self._send(200, json.dumps(told).encode(), "application/json")
        before = f"/datasets/{self.server.repo}/resolve/{SHA}/"
        name = path.removeprefix(before)
        if not path.startswith(before) or name not in self.server.files:
            return self._send(404, b"", "text/plain")
        self.server.asked.append((self.command, name))
        if name in self.server.down and self.command == "GET":
            return self._send(503, b"", "text/plain")
        data = self.server.sent.get(name, self.server.files[name])
        return self._send(200, data, "application/octet-stream")

    def _told(self, name, data):
        large = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}
        told = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
        return told | ({"lfs": large} if name.endswith(".parquet") else {})

    def _send(self, status, data, kind):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", kind)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """POPE's and MMVP's files, as the hub has them."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.asked, server.down, server.sent, server.pictures = [], set(), {}, {}
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("VLMLENS_DATA", str(tmp_path / "data"))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)


def serve(hub, name, tmp_path):
    key, split, _, write = PUBLISHED[name]
    write(tmp_path / "published")
    source: Any = BENCHMARKS[key].source(split)
    hub.repo, root = source.repo, tmp_path / "published" / source.below
    hub.files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    hub.files["README.md"] = b"not wanted"
    return key


FETCHED = ["pope, hub", "mmvp", "gqa, hub", "cv-bench, hub", "blink", "2ds", "gqa, hub, all"]
FETCHED += [
    "whatsup, copy",
    "whatsup, copy, coco",
    "coco-captions, hub",
    "coco-captions, hub, 2014",
]
FETCHED += ["spatial-bench", "spatial-bench, existence", "vqa-v2, hub", "emb-spatial, hub"]


@pytest.mark.parametrize("name", FETCHED)
def test_what_is_fetched_is_what_is_read(name, hub, tmp_path):
    key = serve(hub, name, tmp_path)
    split, lines = PUBLISHED[name][1], []
    data = f"{key}:{split}"
    source: Any = BENCHMARKS[key].source(split)
    folder = datasets.fetch_set(data, say=lines.append)
    assert folder == tmp_path / "data" / key
    assert len(datasets.load(data)) == PUBLISHED[name][2]
    assert not (folder / "README.md").exists()
    told = json.loads((folder / source.below / manifest.MANIFEST).read_text())
    assert told["revision"] == SHA and told["repo"] == source.repo
    assert len(lines) == len(told["files"]) and all(line.endswith("fetched") for line in lines)
    hub.asked.clear()
    datasets.fetch_set(data)
    assert not hub.asked  # what is there is not asked for again


def test_what_was_broken_off_does_not_load_and_goes_on(hub, tmp_path):
    serve(hub, "pope, hub", tmp_path)
    first, second = sorted(name for name in hub.files if name.endswith(".parquet"))
    hub.down.add(second)
    with pytest.raises(UnreachableError, match=r"POPE cannot be reached from here .*data/test-\*"):
        datasets.fetch_set("pope")
    assert (tmp_path / "data/pope" / first).is_file()
    with pytest.raises(DataError, match=r"is not complete.*vlmlens fetch pope:all goes on"):
        datasets.load("pope")
    hub.down.clear()
    hub.asked.clear()
    datasets.fetch_set("pope")
    assert {name for _, name in hub.asked} == {second}
    assert len(datasets.load("pope")) == 6


def test_what_is_not_what_the_hub_says_is_removed(hub, tmp_path):
    serve(hub, "pope, hub", tmp_path)
    name = min(n for n in hub.files if n.endswith(".parquet"))
    data = bytearray(hub.files[name])
    data[len(data) // 2] ^= 1
    hub.sent[name] = bytes(data)
    with pytest.raises(FetchError, match="is not what the hub says it is"):
        datasets.fetch_set("pope")
    assert not (tmp_path / "data/pope" / name).exists()
    assert not (tmp_path / "data/pope" / manifest.MANIFEST).exists()


def test_a_file_that_changed_since_is_named(hub, tmp_path):
    serve(hub, "pope, hub", tmp_path)
    folder = datasets.fetch_set("pope")
    name = min(n for n in hub.files if n.endswith(".parquet"))
    with (folder / name).open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match=f"{name} has .* bytes; what was fetched has"):
        datasets.load("pope")
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name} is not there"):
        datasets.load("pope")
    datasets.fetch_set("pope")
    assert len(datasets.load("pope")) == 6
    (folder / manifest.MANIFEST).write_text("{}")
    with pytest.raises(DataError, match="is damaged"):
        datasets.load("pope")


def test_without_a_hub_it_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("VLMLENS_DATA", str(tmp_path / "data"))
    with pytest.raises(UnreachableError) as refused:
        datasets.fetch_set("cv-bench")
    for told in ("test_2d.parquet", str(tmp_path / "data" / "cv-bench"), "nyu-visionx/CV-Bench"):
        assert told in str(refused.value)
    assert not (tmp_path / "data").exists()
    with pytest.raises(DataError, match=r"there is no folder .*: vlmlens fetch cv-bench:all, or: "):
        datasets.load("cv-bench")
    for data in ("spatial-mm", "coco-captions:train2017"):
        with pytest.raises(DataError, match=r"is not on the hub with its pictures\. .* comes from"):
            datasets.fetch_set(data)
    with pytest.raises(DataError, match="no published set 'popes'"):
        datasets.fetch_set("popes")


def test_the_command_fetches_a_set(hub, tmp_path):
    serve(hub, "pope, hub", tmp_path)
    done = CliRunner().invoke(cli.app, ["fetch", "pope"])
    assert done.exit_code == 0, done.output
    assert "2 of 2: data/test-00001-of-00003.parquet fetched" in done.output
    assert str(tmp_path / "data" / "pope") in done.output.replace("\n", "")
    done = CliRunner().invoke(cli.app, ["fetch", "pope", "--pip", "--no-index"])
    assert done.exit_code == 2


def test_sets_on_the_hub_say_which_files_they_are():
    for bench in BENCHMARKS.values():
        assert bool(bench.hub) == bool(bench.files)
        for split in bench.splits:
            source = bench.source(split)
            assert source is None or source.repo in bench.origin


def linked(hub, tmp_path, count=3):
    """VSR's lines, with pictures that stand at the addresses that they name."""
    root = hub.server_address[1]
    lines = []
    for n in range(count):
        address = f"/train2017/{n:012d}.jpg"
        hub.pictures[address] = encoded(n)
        lines.append(VSR_ROW | {
            "image": f"{n:012d}.jpg", "image_link": f"http://127.0.0.1:{root}{address}",
            "subj": "cat", "obj": "cup",
        })  # fmt: skip
    hub.repo = "cambridgeltl/vsr_zeroshot"
    hub.files = {"test.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode()}


def test_pictures_that_files_name_by_their_addresses_are_fetched_too(hub, tmp_path):
    linked(hub, tmp_path)
    lines = []
    folder = datasets.fetch_set("vsr", say=lines.append)
    samples = datasets.load("vsr")
    assert [sample.pictures()[0].size for sample in samples] == [(48, 32)] * 3
    assert lines[-1] == "3 of 3 pictures are there"
    told = json.loads((folder / "zeroshot" / manifest.MANIFEST).read_text())["files"]
    assert set(told) == {"test.jsonl", *(f"train2017/{n:012d}.jpg" for n in range(3))}
    hub.asked.clear()
    datasets.fetch_set("vsr")
    assert not hub.asked
    (folder / "zeroshot" / "train2017" / f"{1:012d}.jpg").unlink()
    with pytest.raises(DataError, match=r"is not there.*vlmlens fetch vsr:zeroshot-test goes on"):
        datasets.load("vsr")
    datasets.fetch_set("vsr")
    assert len(hub.asked) == 1


def test_a_picture_that_does_not_come_leaves_the_set_incomplete(hub, tmp_path):
    linked(hub, tmp_path)
    gone = hub.pictures.pop(f"/train2017/{2:012d}.jpg")
    with pytest.raises(UnreachableError, match="2 of 3 pictures are there"):
        datasets.fetch_set("vsr")
    with pytest.raises(DataError, match="is not complete"):
        datasets.load("vsr")
    hub.pictures[f"/train2017/{2:012d}.jpg"] = b"<html>no picture</html>"
    with pytest.raises(FetchError, match="sends is no picture"):
        datasets.fetch_set("vsr")
    hub.pictures[f"/train2017/{2:012d}.jpg"] = gone[: len(gone) // 2]
    with pytest.raises(FetchError, match="sends is no picture"):
        datasets.fetch_set("vsr")
    assert len(list((tmp_path / "data/vsr/zeroshot/train2017").iterdir())) == 2
    hub.pictures[f"/train2017/{2:012d}.jpg"] = gone
    datasets.fetch_set("vsr")
    assert len(datasets.load("vsr")) == 3


@pytest.mark.parametrize("change", [{"image": "../../x.jpg"}, {"image_link": "file:///etc/passwd"}])
def test_addresses_and_names_of_pictures_that_are_none_are_refused(hub, tmp_path, change):
    linked(hub, tmp_path, 1)
    line = json.loads(hub.files["test.jsonl"]) | change
    hub.files["test.jsonl"] = json.dumps(line).encode()
    with pytest.raises(DataError, match=rf"{next(iter(change))} is .*; it should"):
        datasets.fetch_set("vsr")
