"""Tiny random models of every family; nothing is downloaded."""

import os
import sys
from functools import cache
from inspect import signature
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
import transformers
import typed  # noqa: F401  before vlmlens is imported
from hypothesis import settings
from PIL import Image

import vlmlens as vl
from vlmlens import cli
from vlmlens.errors import UnsupportedModelError
from vlmlens.zoo.tiny import TINY, build

# Every example is a pass or two of a model; the same ones each time.
settings.register_profile("models", max_examples=8, deadline=None, derandomize=True)
settings.load_profile("models")

TESTS = Path(__file__).parent
#: Where numbers come from, and the examples of docstrings: what `make machine` runs.
NUMBERS = ("model", "interventions", "probes", "test_docstrings.py")
#: Every tiny model there is: the contract is held to all of them.
EVERY = tuple(TINY)
#: Built of the parts of others, which are tried always: the contract by turns.
OF_OTHERS = (
    "glmga",
    "cohere_compass",
    "cosmos3_edge",
    "hyperclovax_vision_v2",
    "ernie4_5_vl_moe",
    "exaone4_5",
    "video_llava",
    "vipllava",
    "llava_next_video",
    "glm46v",
    "lighton_ocr",
    "deepseek_vl_hybrid",
    "molmo2/olmo",
    "qwen2_5_omni_thinker",
    "qwen3_omni_moe_thinker",
)
#: Models of different kinds, for what has to hold on more than LLaVA: fixed grids; grouped heads
#: and a grid that leaves pixels over; three axes of RoPE and a packed tower; norms on both sides of
#: sublayers, two RoPE tables, windows and images that see themselves both ways.
KINDS = ("llava", "llava/siglip-qwen2", "qwen2_5_vl", "gemma3")


#: For laws of sums over what is written into the stream: what a deep tower adds, and blocks whose
#: MLP reads beside attention, as well.
SUMMING = (*KINDS, "qwen3_vl", "aya_vision")
UNLIKE = ("llava/siglip-qwen2", "gemma3", "qwen3_vl", "aya_vision")


def by_turns(values, always=KINDS):
    """What to try a law on, models as a rule: some always, the others where slow tests run."""
    return [
        value
        if value in always
        else pytest.param(*(value if type(value) is tuple else (value,)), marks=pytest.mark.slow)
        for value in values
    ]


QUESTIONS = ("What color is the circle?", "Is the red square left of the blue star?")


@pytest.fixture(scope="session", autouse=True)
def machine():
    """One thread, five times faster on models as tiny as these; or what tests/machines.py says."""
    torch.set_num_threads(int(os.environ.get("VLMLENS_TEST_THREADS", "1")))
    torch.backends.mkldnn.enabled = os.environ.get("VLMLENS_TEST_MKLDNN") != "0"


#: Families that some version of transformers cannot run by itself, or lays out in another way; it
#: is asked, not looked up.
BROKEN_UPSTREAM = ("llama4", "video_llava", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker")


@cache
def cannot_run(name: str) -> str:
    """What plain transformers, with nothing of ours, fails with on a family; empty if it runs."""
    try:
        model, _ = build(name)
    except UnsupportedModelError as error:  # it is younger than this version
        return str(error)
    if "pixel_values" not in signature(model.forward).parameters:
        return f"transformers {transformers.__version__} calls {name}'s pictures by another name"
    if name.endswith("_thinker") and not hasattr(model.model, "visual"):
        return f"transformers {transformers.__version__} keeps {name}'s tower elsewhere"
    ids = torch.ones(1, 3, dtype=torch.long)
    try:
        model(input_ids=ids, attention_mask=ids)
    except Exception as error:
        return f"transformers {transformers.__version__} cannot run {name}: {error!r}"
    return ""


def pytest_addoption(parser):
    parser.addoption("--share", default="0/1", help="i/n: one share in n of the tests, in turn")
    parser.addoption("--kinds", action="store_true", help="tests of one model: of four kinds alone")


def model_of(item) -> str | None:
    """The tiny model that a test is of, if it is of one."""
    given = getattr(item, "callspec", None)
    values = given.params.values() if given else ()
    return next((each for each in values if isinstance(each, str) and each in EVERY), None)


def share_of(item) -> int:
    """Which share a test is of: those of a model together, others as they fall."""
    name = model_of(item)
    return crc32(item.nodeid.encode()) if name is None else EVERY.index(name)


def pytest_collection_modifyitems(config, items):
    # A test is called the same in every process, or several could not share the work.
    addressed = [item.nodeid for item in items if " at 0x" in item.nodeid]
    assert not addressed, addressed
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in NUMBERS:
            item.add_marker("numbers")
        given = getattr(item, "callspec", None)
        for name in set(BROKEN_UPSTREAM) & {str(v) for v in given.params.values()} if given else ():
            if reason := cannot_run(name):
                item.add_marker(pytest.mark.skip(reason=reason))
    turn, shares = map(int, config.getoption("share").split("/"))
    only = (None, *KINDS) if config.getoption("kinds") else (None, *EVERY)
    left = [
        item
        for item in items
        if share_of(item) % shares != turn % shares or model_of(item) not in only
    ]
    if left:
        config.hook.pytest_deselected(items=left)
        gone = set(map(id, left))
        items[:] = [item for item in items if id(item) not in gone]


@pytest.fixture(scope="session", params=["llava", "llava/siglip-qwen2"])
def parts(request):
    return build(request.param)


@pytest.fixture(scope="module")
def vlm(parts):
    """Two LLaVAs, one with grouped heads."""
    with vl.HookedVLM(*parts) as model:
        yield model


@pytest.fixture(scope="module", params=KINDS)
def any_vlm(request):
    """Models of different kinds, one after the other."""
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module", params=by_turns(EVERY))
def every_vlm(request):
    """Every tiny model, one after the other."""
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny LLaVA in a folder, as ``save_pretrained`` writes it."""
    folder = tmp_path_factory.mktemp("model")
    model, processor = build("llava")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def vlmlens_says(monkeypatch, capsys):
    """Run the entry point; its exit code, what it printed, and what it complained of."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["vlmlens", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.run()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


def picture(seed: int = 0, size: tuple[int, int] = (40, 40)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def inputs(vlm):
    """Two samples of different length, one image each."""
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS), system="Answer in a word or two.")
