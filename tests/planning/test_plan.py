"""What is counted without weights is what a model with weights takes."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from as_users import as_users
from children import HOME, python
from conftest import build, picture
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.experiments import sweep
from vlmlens.planning import Card, drawn, plan, weighing
from vlmlens.planning.costs import Costs
from vlmlens.planning.planned import parts_of
from vlmlens.zoo.opening.weightless import weightless


def attention(query, key, value, *rest, out_shape=None, **options):
    """The processor's own kernel, which torch's counter leaves out, by torch's formula."""
    return sdpa_flop_count(query, key, value)


ON_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")


def seven():
    """LLaVA-1.5-7B, as published."""
    tower = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    text = LlamaConfig(vocab_size=32064, max_position_embeddings=4096)
    return LlavaConfig(vision_config=tower, text_config=text, image_token_id=32000)


def really(call):
    """Operations of a call on a model with weights, as torch counts them."""
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        call()
    return counter.get_total_flops()


def both(name):
    """A tiny model with its weights, and the same without."""
    model, processor = build(name)
    model.set_attn_implementation("sdpa")
    return vl.HookedVLM(model, processor), vl.HookedVLM(weightless(name, model.config))


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
def test_operations_are_those_that_torch_counts(name):
    whole, bare = both(name)
    with whole, bare:
        with weighing(bare.hf_model, parts_of(bare)) as scale:
            counted = scale.count(lambda: bare.run(drawn(bare, 16)))
        inputs = drawn(whole, 16)
        assert counted.total == really(lambda: whole.run(inputs)) > 0
    assert counted.operations.keys() >= {"tower", "projector", "blocks", "head"}


@pytest.mark.slow
def test_experiments_take_what_is_said():
    whole, bare = both("llava")
    pair = [
        vl.Sample("Is it red or blue?", (picture(n),), c) for n, c in enumerate(("red", "blue"))
    ]
    (layout,) = whole.inputs(pair[0]).layouts
    text = len(layout) - layout.roles.count("vision")
    with bare, weighing(bare.hf_model, parts_of(bare)) as scale:
        counted = scale.count(lambda: bare.run(drawn(bare, text)))
    costs = Costs(counted, whole.layers, 4, len(layout), (), 0, 0)
    quiet = {"progress": False}
    for tokens in (1, 4):
        with whole.reuse():
            asked = partial(whole.generate, max_new_tokens=tokens, stop=False)
            done = really(lambda: [asked(whole.inputs(pair[0])) for _ in range(4)])  # noqa: B023
        assert costs.psi(3, tokens).operations == pytest.approx(done, rel=0.01)
    last = vl.Where(positions="last")
    done = really(lambda: sweep(whole, *pair, "blocks.*.hook_resid_pre", where=last, **quiet))
    assert costs.sweep("last").operations == pytest.approx(done, rel=0.02)
    assert costs.psi(3, 4).operations > costs.psi(3, 1).operations > costs.clean().operations


MEASURED = f"""
import sys
sys.path.insert(0, {HOME!r})
import json, torch, vlmlens as vl
from tests.benchmarks.memory import peak
from tests.benchmarks.subject import Size, Subject
from vlmlens.planning import weighing
from vlmlens.probes import cmb
from vlmlens.zoo.opening.weightless import weightless
torch.set_num_threads(1)
size = Size(width=256, layers=4, heads=4, vision_width=128, vision_layers=2, grid=16)
subject = Subject.of(size)
whole = vl.HookedVLM(subject.model, subject.processor)
bare = vl.HookedVLM(weightless("llava", subject.model.config), subject.processor)
jobs = {{"pass": (), "stream": "blocks.*.hook_resid_post", "cmb": cmb.NEEDS}}
inputs = whole.inputs([subject.sample] * 2)
really = {{name: peak(lambda: whole.run(inputs, save=save)) for name, save in jobs.items()}}
with weighing(bare.hf_model, {{}}) as scale:
    inputs = bare.inputs([subject.sample] * 2)
    told = {{
        name: scale.count(lambda: bare.run(inputs, save=save)).peak for name, save in jobs.items()
    }}
print(json.dumps([really, told]))
"""


@pytest.mark.slow
def test_the_most_memory_is_what_is_measured():
    really, told = json.loads(python(MEASURED).stdout)
    assert really["stream"] > 1.1 * really["pass"] > 2**20
    for job, measured in really.items():
        assert told[job] == pytest.approx(measured, rel=0.1), (job, really, told)


@pytest.mark.slow
def test_the_command_agrees_with_the_page_on_seven_billion_weights(vlmlens_says, tmp_path):
    seven().save_pretrained(tmp_path)
    path = tmp_path / "plan.json"
    words = [word for each in ("last", "heads", "rows") for word in ("--sweep", each)]
    code, said, _ = vlmlens_says("plan", tmp_path, *words, "--json", path, "--samples", 10)
    assert code == 0
    assert "576 vision and 64 text tokens" in said
    told = json.loads(path.read_text())
    model = weightless("seven", seven())
    assert sum(told["parameters"].values()) == sum(p.numel() for p in model.parameters())
    assert told["memory"]["float32"]["weights"] == 4 * sum(told["parameters"].values())
    blocks = told["parameters"]["blocks"] / 1e9
    assert blocks == pytest.approx(figure(r"a block, ([\d.]+)\nbillion"), rel=0.01)
    jobs = {job["name"]: job["operations"] / 1e12 for job in told["jobs"]}
    clean = jobs["a pass"]
    assert clean == pytest.approx(figure(r"logits included, ([\d.]+)e12"), rel=0.01)
    clean -= 639 * 2 * 4096 * 32064 / 1e12  # a sweep asks for the last position's logits
    for name, row in (
        ("sweep, layers x last token", r"32 layers x last token \| [^=|]*= ([\d.]+)e12"),
        ("sweep, layers x heads, last token", r"32 heads, last token \| ([\d.]+)e12"),
        ("sweep, layers x image rows", r"24 image rows \| ([\d.]+)e12"),
    ):
        assert jobs[name] - 2 * clean == pytest.approx(figure(row), rel=0.05), name


def figure(pattern):
    """A number of the page."""
    (found,) = re.findall(pattern, PAGE)
    return float(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sweeps": ["pos"]}, "sweeps"),
        ({"samples": 0}, "samples"),
        ({"text": 1}, "text"),
        ({"card": Card(memory=0)}, "memory=0"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(options, message):
    with as_users(), pytest.raises(InputError, match=message):
        plan("tiny", build("llava")[0].config, **options)


@pytest.mark.slow
def test_a_card_that_is_too_small_for_any_prompt(vlmlens_says):
    code, said, _ = vlmlens_says("plan", "shapes-base", "--memory", "0.0005")
    assert code == 0
    assert "none is" in said
    code, _, said = vlmlens_says("plan", "shapes-bsae")
    assert code == 2
    assert "did you mean shapes-base" in said


@pytest.mark.slow
def test_more_cards_where_one_is_too_small():
    held = plan("tiny", build("llava")[0].config).memory["float32"]
    room = (held.weights / 2.5 + held.run) / 0.9 / 2**30
    several = plan("tiny", build("llava")[0].config, card=Card(memory=room)).memory["float32"]
    assert several.cards == 3
    assert several.batch >= 1
