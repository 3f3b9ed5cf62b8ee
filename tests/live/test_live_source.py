"""The Python that the page lists and copies does what was done."""

import ast
import base64
import contextlib
import io
import random
import time

import pytest
import torch
from children import python
from conftest import picture
from PIL import Image
from talking import SCENE, Tab, hosted

import vlmlens as vl
from vlmlens import interventions
from vlmlens.live import asking
from vlmlens.live.serving import Host
from vlmlens.live.source import written
from vlmlens.select import Where
from vlmlens.zoo.tiny import build

EDITS = [
    {"kind": "heads", "heads": [[0, 1], [1, 0]], "how": "mean"},
    {"kind": "heads", "heads": [[1, 1]], "how": "only"},
    {"kind": "block", "queries": [77], "keys": [4, 9, *range(20, 50, 2)], "layers": [0, 2]},
    {"kind": "tokens", "keys": list(range(4, 36)), "seed": 3},
    {"kind": "tokens", "keys": [12, 13, 20, 21], "how": "move", "by": [2, 1]},
    {"kind": "positions", "keys": list(range(4, 68)), "how": "shift", "by": -2.5},
    {"kind": "norms", "how": "distribution"},
    {"kind": "patch", "layers": [1, 2], "keys": [4, 6, 9]},
]
SAVED = "\nimport torch; torch.save(logits, {path!r})\n"


@pytest.fixture(scope="module")
def host():
    with (
        pytest.MonkeyPatch.context() as patch,
        vl.HookedVLM.from_pretrained("shapes-base") as model,
    ):
        patch.setattr(asking, "TOKENS", 2)
        host = hosted(model, "What color is at the top?")
        yield host
        host.close()


@pytest.fixture
def tab(host):
    tab = Tab(host)
    tab.state("second", scene=SCENE)
    return tab


@pytest.mark.slow
def test_code_that_is_run_gives_the_same_logits(tab):
    for edit in EDITS:
        tab.add(**edit)
    _, _, logits = tab.edited()
    code = tab.ask("code")["python"]
    assert max(map(len, code.splitlines())) <= 100
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code, names)
    torch.testing.assert_close(names["logits"], logits, atol=1e-4, rtol=1e-4)
    assert said.getvalue().startswith("clean '") and "\nedited '" in said.getvalue()


@pytest.mark.slow
def test_code_runs_in_a_fresh_process(tab, tmp_path):
    tab.state("picture", scene=SCENE)
    for edit in EDITS:
        tab.add(**edit)
    _, _, logits = tab.edited()
    path = str(tmp_path / "logits.pt")
    done = python(tab.ask("code")["python"] + SAVED.format(path=path))
    torch.testing.assert_close(torch.load(path), logits, atol=1e-3, rtol=1e-3)
    shown = tab.state("open")
    for which in ("clean", "edited"):
        assert shown[which]["answer"] in done.stdout.split(which, 1)[1].split("[(")[0]


def asked(tab):
    """What the copied cell makes its sample of: the arguments, as they are parsed."""
    calls = ast.walk(ast.parse(tab.ask("code")["python"]))
    made = [n for n in calls if isinstance(n, ast.Call) and ast.unparse(n.func) == "vl.Sample"]
    return made[0].args


def test_hostile_words_stay_words(tab):
    question = '"); import os; os.abort()  # \\ """ \''
    tab.state("question", text=question)
    assert asked(tab)[0].value == question


@pytest.mark.slow
def test_what_is_listed_is_evaluated_to_the_same_value(tab):
    for edit in EDITS:
        state = tab.add(**edit)
    clean, edits, _ = tab.edited()
    held = tab.session.asking
    sources = {"clean": held.heads(clean), "second": held.stream(clean, tab.session.now.second)}
    names = {name: type("Run", (), {"saved": saved}) for name, saved in sources.items()}
    listed = ",".join(each["python"] for each in state["edits"])
    assert tuple(eval(f"[{listed}]", vars(interventions) | {"Where": Where} | names)) == edits


def test_an_upload_is_copied_byte_by_byte(tab):
    buffer = io.BytesIO()
    tab.session.now.sample.pictures()[0].save(buffer, format="jpeg")
    tab.state("picture", upload=tab.host.uploads.add(buffer.getvalue()))
    written = ast.unparse(asked(tab)[1])
    assert eval(written, {"base64": base64}) == [buffer.getvalue()]


def test_a_large_upload_is_copied_in_time(tab):
    noise = Image.frombytes("RGB", (1500, 1400), random.Random(0).randbytes(1500 * 1400 * 3))
    noise.save(buffer := io.BytesIO(), format="png")
    tab.state("picture", upload=tab.host.uploads.add(buffer.getvalue()))
    began = time.process_time()
    assert len(tab.ask("code")["python"]) > 8_000_000
    assert time.process_time() - began < 10


def test_a_folder_is_named_so_that_it_is_found_from_anywhere(tmp_path, monkeypatch):
    hf_model, processor = build("llava")
    hf_model.save_pretrained(tmp_path / "mine")
    processor.save_pretrained(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    with vl.HookedVLM.from_pretrained("mine") as model:
        host = hosted(model)
        code = Tab(host).ask("code")["python"]
        host.close()
    assert f"from_pretrained({str(tmp_path / 'mine')!r})" in code
    (tmp_path / "shapes-base").mkdir()  # a bundled name stays one
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        assert model.opening[0] == "shapes-base"


def test_a_model_without_a_name_is_said_to_have_none():
    with vl.HookedVLM(*build("llava"), name="mine") as model:
        host = hosted(model)
        code = Tab(host).ask("code")["python"]
        host.close()
    assert "# `model` is the 'mine' that is open here" in code and "from_pretrained" not in code


@pytest.mark.slow
def test_a_cell_opens_the_model_as_it_was_opened():
    with vl.HookedVLM.from_pretrained("shapes-base", dtype=torch.float64) as model:
        host = hosted(model)
        code = Tab(host).ask("code")["python"]
        host.close()
    assert "from_pretrained('shapes-base', dtype='float64')" in code


def test_what_is_at_its_default_is_not_written():
    assert written(interventions.KnockOut(), {}) == "KnockOut()"


def test_references_are_written_and_tokens_that_read_alike_stay_apart():
    with vl.HookedVLM(*build("llava"), name="mine") as model:
        sample = vl.Sample("What is this?", picture(3, (40, 40)), references=("red", "blue"))
        host = Host(model, sample)
        code = Tab(host).ask("code")["python"]
        names = {"model": model}
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(code, names)
        host.close()
    assert names["sample"].references == sample.references and names["sample"].key == sample.key
    pairs = said.getvalue().splitlines()[0].partition("[(")[2]
    assert len(ast.literal_eval("[(" + pairs)) == 5
