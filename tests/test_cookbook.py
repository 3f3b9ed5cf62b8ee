"""The cookbook runs, on the bundled model, and finds what must be so."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, build, by_turns

import vlmlens as vl

pytestmark = pytest.mark.pages

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "cookbook.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


SECOND = (DOCS / "cookbook_2.md").read_text()


def sections(page=PAGE):
    head, *rest = page.split("\n## ")
    return BLOCK.findall(head), [(text.splitlines()[0], BLOCK.findall(text)) for text in rest]


@pytest.mark.parametrize(("page", "many"), [(PAGE, 9), (SECOND, 10)], ids=["first", "second"])
def test_experiments_are_of_at_most_fifteen_lines(page, many):
    _, found = sections(page)
    assert len(found) == many
    for title, blocks in found:
        lines = [line for line in "\n".join(blocks).splitlines() if line.strip()]
        assert 0 < len(lines) <= 15, f"{title}: {len(lines)} lines"


@pytest.fixture(scope="module")
def found():
    """Every name that the page's code leaves behind."""
    names: dict = {}
    head, rest = sections()
    for blocks in (head, *(blocks for _, blocks in rest)):
        for block in blocks:
            exec(compile(block, "cookbook.md", "exec"), names)
    yield names
    names["model"].close()


def eight_by_eight(name, monkeypatch):
    """A tiny model of a family with the bundled model's grid and depth."""
    own = TINY[name]
    config, (pixels, settings), processor = dict(own.config), own.pixels, dict(own.processor)
    config["text_config"] = config["text_config"] | {"num_hidden_layers": 4}
    if "image_size" in config["vision_config"]:
        config["vision_config"] = config["vision_config"] | {"image_size": 64}
    if name == "gemma3":
        kinds = ["sliding_attention", "full_attention"] * 2
        config["text_config"] |= {"layer_types": kinds}
        config["mm_tokens_per_image"] = processor["image_seq_length"] = 64
    settings = (
        settings
        | {
            "llava": {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
            "gemma3": {"size": {"height": 64, "width": 64}},
            "qwen2_5_vl": {"size": {"shortest_edge": 256, "longest_edge": 4096}},
        }[name]
    )
    whole = replace(own, config=config, pixels=(pixels, settings), processor=processor)
    monkeypatch.setitem(TINY, f"{name}/8x8", whole)
    return build(f"{name}/8x8")


@pytest.mark.parametrize("name", by_turns(["llava", "qwen2_5_vl", "gemma3"], ["qwen2_5_vl"]))
def test_the_page_runs_on_models_of_other_kinds(name, monkeypatch):
    head, rest = sections()
    with vl.HookedVLM(*eight_by_eight(name, monkeypatch)) as model:
        names: dict = {"MODEL": model}
        opened = 'vl.HookedVLM.from_pretrained("shapes-base")'
        assert opened in head[0]
        for block in [head[0].replace(opened, "MODEL"), *(b for _, bs in rest for b in bs)]:
            exec(compile(block, "cookbook.md", "exec"), names)
        assert names["inputs"].layouts[0].grid() == (8, 8)
        assert all(moved > 0 for moved in names["pruned"].values())
        assert names["swapped"] > 0


def test_updates(found):
    for change, cosine in found["unseen"]["as it is"].values():
        assert change.shape == cosine.shape == (4,)
        assert (change > 0).all()
        assert (cosine < 1).all()
    plain, normed = (found["unseen"][name]["vision"][0] for name in ("as it is", "normed"))
    assert plain[0] != normed[0]


def test_scaling(found):
    for (_, alpha), moved in found["scaling"].items():
        assert moved == pytest.approx(0, abs=1e-6) if alpha == 1 else moved > 1e-6


def test_maps(found):
    assert set(found["maps"]) == {"original", "MovePositions(to='constant')"}
    plain, constant = found["maps"].values()
    assert (plain <= 0).all()
    assert (plain != constant).all()


def test_pruning(found):
    assert len(found["pruned"]) == 4
    assert all(moved > 0 for moved in found["pruned"].values())


def test_spread(found):
    spreads = [spread for spread, _ in found["spread"].values()]
    assert spreads[0] == pytest.approx(16.0)  # 0..63: mean absolute deviation from their mean
    assert spreads[1] == pytest.approx(2.0)  # 0..7, eight times each
    assert spreads[-1] == 0
    moved = [moved for _, moved in found["spread"].values()]
    assert moved[0] == pytest.approx(0, abs=1e-6)  # raster is what the model has
    assert all(other > 1e-4 for other in moved[1:])


def test_attention_over_objects(found):
    assert found["accuracy"].sizes["intervention"] == 3
    overlap = found["overlap"]
    assert overlap.shape == (4, 12, 4)
    assert ((overlap >= 0) & (overlap <= 1)).all()


def test_sinks(found):
    assert found["sinks"].any()
    assert not (found["sinks"] & ~found["vision"]).any()
    assert (found["without_sinks"] <= found["with_sinks"] + 1e-6).all()


def test_modality_dominance(found):
    share = found["size"]["vision"] / found["tokens"]
    assert torch.allclose(
        share * found["aei"]["vision"] + (1 - share) * found["aei"]["user"], torch.tensor(1.0)
    )
    assert torch.allclose(found["mdi"], found["aei"]["user"] / found["aei"]["vision"], rtol=1e-3)


def test_spatial_ids(found):
    assert found["r2"].shape == (4,)
    assert (found["r2"] > 0.5).all()  # of tokens that the fit has not seen
    assert found["pushed"] > 1e-6
    assert found["swapped"] > 1e-6


def test_ones_own_intervention_is_a_class_of_ten_lines(found):
    """The page that says how to write one runs, and its class is that short."""
    page = (DOCS / "add_an_intervention.md").read_text()
    names = {"model": found["model"], "inputs": found["inputs"]}
    for block in BLOCK.findall(page):
        exec(compile(block, "add_an_intervention.md", "exec"), names)
    own = next(block for block in BLOCK.findall(page) if "class " in block)
    body = own[own.index("@dataclass") :].split("\n\n\n")[0].splitlines()
    assert 0 < len([line for line in body if line.strip()]) <= 10
    assert not torch.equal(names["run"].logits, found["model"].run(found["inputs"]).logits)


def test_the_concepts_examples_of_selections_and_interventions_run(found):
    page = (DOCS / "concepts.md").read_text()
    part = page[page.index("## Selections") : page.index("## Probes")]
    names = {"model": found["model"], "inputs": found["inputs"]}
    for block in BLOCK.findall(part):
        exec(compile(block.replace("blocks.3", "blocks.1"), "concepts.md", "exec"), names)
    said = "RotateRope(positions='vision', delta=0.5) + PermuteVision(seed=3)"
    assert names["label"](names["edits"]) == said


def test_the_second_page_runs_and_finds_what_it_says():
    """Ten methods of 2025 and 2026; every sentence of what came out holds."""
    names: dict = {}
    head, rest = sections(SECOND)
    for block in [*head, *(b for _, blocks in rest for b in blocks)]:
        exec(compile(block, "cookbook_2.md", "exec"), names)
    names["model"].close()
    assert len(re.findall(r"arXiv:2[56]\d\d\.\d{5}\]", SECOND)) == 10
    assert names["better"]["low"] > 0  # 1
    cost = names["cost"]
    assert max(abs(cost["attention"]), abs(cost["contribution"])) < 0.05 < 1 < cost["most"]  # 2
    first, last = names["zeroed"]
    assert abs(first) < 0.05 < 1 < last  # 3
    gains = names["gains"]
    assert (gains["task"] - gains["chance"]).mean() > 1  # 4
    parts = names["parts"]
    assert parts[0].max() == parts.max() > 2 * np.sort(parts.ravel())[-2]  # 5
    follows = names["follows"]
    assert all(follows["image"]) and all(follows["shapes"]) and len(follows["shapes"]) == 12  # 6
    assert 0 < names["share"]["evened"] < names["share"]["as it is"]  # 7
    assert all(abs(value) < 0.05 for value in names["held"].values())  # 8
    even = names["even"]
    assert even[0] > 1 and max(abs(even[2]), abs(even[3])) < 0.05  # 9
    assert abs(names["contained"]).max() < 0.05  # 10
