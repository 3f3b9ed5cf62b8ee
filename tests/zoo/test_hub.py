"""What a user sees of the hub: a model comes whole, or one line says what to do."""

import json
import os
import sys

import pytest
from children import HOME, ran
from conftest import build
from peft import LoraConfig, get_peft_model
from standing_hub import COMMIT, standing

from vlmlens.zoo.opening import adapters

#: Opens what is asked for, one after the other, and tells what came of it and how long it took.
OPENS = f"""
import json, sys, time
sys.path.insert(0, {HOME!r})
import vlmlens as vl
from huggingface_hub import constants
from typer.testing import CliRunner
from vlmlens.cli import app
from vlmlens.errors import VLMLensError
constants.DOWNLOAD_CHUNK_SIZE = 4096  # weights are small here
found = {{}}
for each, (model, options) in json.loads(sys.argv[1]).items():
    start = time.monotonic()
    try:
        with vl.HookedVLM.from_pretrained(model, **options) as vlm:
            found[each] = [type(vlm.processor).__name__, str(vlm.revision)]
    except VLMLensError as error:
        found[each] = [type(error).__name__, str(error)]
    found[each].append(time.monotonic() - start)
if "gated" in found:
    said = CliRunner().invoke(app, ["plan", "owner/gated"])
    found["command"] = [str(said.exit_code), said.output, 0]
print(json.dumps(found))
"""
NAME = "owner/llava"
SHARD = "model-00001-of-"


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # between peft and transformers


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repo")
    model, processor = build("llava")
    model.save_pretrained(folder, max_shard_size="60KB")
    processor.save_pretrained(folder)
    for file in ("model.safetensors.index.json", "generation_config.json", "chat_template.jinja"):
        assert (folder / file).is_file(), file
    broken = tmp_path_factory.mktemp("broken")
    for path in folder.iterdir():
        if not path.name.startswith(SHARD):
            (broken / path.name).write_bytes(path.read_bytes())
    adapter = tmp_path_factory.mktemp("adapter")
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(adapter)
    told = json.loads((adapter / adapters.SETTINGS).read_text())
    told |= {"base_model_name_or_path": NAME, "revision": COMMIT}
    (adapter / adapters.SETTINGS).write_text(json.dumps(told))
    with standing() as hub:
        hub.repos |= {NAME: folder, "owner/broken": broken, "owner/adapter": adapter}
        hub.gated.add("owner/gated")
        yield hub


def opened(hub, cache, asked, **environment):
    """What came of each, in a Python of its own, which reads where the hub is as it starts."""
    more = {"HF_ENDPOINT": hub.address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    env = clean | more | {"CUDA_VISIBLE_DEVICES": ""} | environment
    done = ran(sys.executable, "-c", OPENS, json.dumps(asked), env=env)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_what_the_hub_has_comes_whole_and_what_it_refuses_says_what_to_do(hub, tmp_path):
    shard = next(p.name for p in hub.repos[NAME].iterdir() if p.name.startswith(SHARD))
    hub.slow = 0.02
    hub.cut[shard] = [0.5] + 6 * [0.0]  # and the hub's library tries five times more
    found = opened(
        hub,
        tmp_path,
        {
            "cut off": (NAME, {}),
            "whole": (NAME, {}),
            "branch": (NAME, {"revision": "branch"}),
            "commit": (NAME, {"revision": COMMIT}),
            "no revision": (NAME, {"revision": "nowhere"}),
            "gated": ("owner/gated", {}),
            "nowhere": ("owner/nowhere", {}),
            "broken": ("owner/broken", {}),
            "cached": (NAME, {"local_files_only": True}),
            "adapter": ("owner/adapter", {}),
            "adapter, cached": ("owner/adapter", {"local_files_only": True}),
            "not cached": ("owner/other", {"local_files_only": True}),
        },
    )
    for name in ("whole", "branch", "commit", "cached"):
        assert found[name][:2] == ["LlavaProcessor", COMMIT], (name, found[name])
    for name in ("adapter", "adapter, cached"):
        assert found[name][:2] == ["LlavaProcessor", f"{COMMIT} with {COMMIT}"], found[name]
    asked = [asked[2] for asked in hub.asked if asked[1].endswith(shard) and asked[0] == "GET"]
    assert asked[0] == ""
    assert int(asked[1].removeprefix("bytes=").strip("-")) > 4096  # it went on where it was cut
    again = [asked[1] for asked in hub.asked if asked[0] == "GET" and SHARD[:6] in asked[1]]
    again = [path for path in again if "owner/llava/" in path and not path.endswith(shard)]
    assert len(again) == len(set(again)) > 3  # what had come whole was kept
    told = {name: " ".join(words[:2]) for name, words in found.items()}
    for name, kind, *words in (
        ("cut off", "UnreachableError", hub.address, "files that came whole are kept"),
        ("gated", "UnreachableError", "hf auth login", f"{hub.address}/owner/gated"),
        ("no revision", "UnknownModelError", "no revision 'nowhere'"),
        ("nowhere", "UnknownModelError", hub.address, "does not know it"),
        ("broken", "UnsupportedModelError", "no weights that open", SHARD),
        ("not cached", "UnreachableError", "the hub is not to be asked"),
    ):
        assert told[name].startswith(kind), told[name]
        assert all(word in told[name] for word in words), told[name]
    assert found["nowhere"][2] < 5
    assert found["command"][0] == "2"
    (line,) = found["command"][1].strip().splitlines()
    assert line == f"error: {found['gated'][1]}"
    offline = {"cached": (NAME, {}), "not cached": ("owner/other", {})}
    asked = len(hub.asked)
    found = opened(hub, tmp_path, offline, HF_HUB_OFFLINE="1")
    assert found["cached"][:2] == ["LlavaProcessor", COMMIT]
    assert found["not cached"][0] == "UnreachableError"
    assert len(hub.asked) == asked


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached(hub, tmp_path):
    with standing() as gone:
        pass
    found = opened(gone, tmp_path, {"imports": (NAME, {}), "lost": (NAME, {})})
    assert found["lost"][0] == "UnreachableError"
    assert found["lost"][2] < 5  # its library would ask again for half a minute
    assert f"{gone.address} cannot be reached" in found["lost"][1]
