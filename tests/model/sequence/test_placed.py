"""Weights that are elsewhere, packed, or in half precision: points keep their dtype and device."""

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from closeness import assert_close
from conftest import QUESTIONS, build, picture
from torch import nn

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import ZeroAblate

NAMES = ("llava", "qwen2_5_vl", "gemma3")


def made(vlm):
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def expected(name):
    with vl.HookedVLM(*build(name)) as vlm:
        given = made(vlm)
        run = vlm.run(given, save="*")
        cut = vlm.run(
            given, [ZeroAblate(point="blocks.*.attn.hook_result", where=vl.Where(heads=0))]
        )
    return run, cut.logits


def looked_at(vlm, run, cut):
    given = made(vlm)
    assert given.tensors["input_ids"].device.type == "cpu"
    again = vlm.run(given, save="*")
    assert torch.equal(again.logits, run.logits)
    for point, tensor in run.saved.items():
        assert again.saved[point].device.type == "cpu", point
        assert torch.equal(again.saved[point], tensor), point
    edit = ZeroAblate(point="blocks.*.attn.hook_result", where=vl.Where(heads=0))
    assert torch.equal(vlm.run(given, [edit]).logits, cut)
    assert torch.equal(vlm.rope.step, run.rope.step)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_fetched_layer_by_layer(name):
    run, cut = expected(name)
    model, processor = build(name)
    cpu_offload(model, execution_device=torch.device("cpu"))
    with vl.HookedVLM(model, processor, revision="one") as vlm:
        assert next(vlm.hf_model.lm_head.parameters()).is_meta
        looked_at(vlm, run, cut)


@pytest.mark.filterwarnings("ignore:The following device_map keys:UserWarning")  # bare parameters
@pytest.mark.parametrize("name", NAMES)
def test_layers_on_disk(name, tmp_path):
    run, cut = expected(name)
    model, processor = build(name)
    decoder = "model.language_model.layers.1"
    places = dict.fromkeys((n for n, m in model.named_modules() if not list(m.children())), "cpu")
    places |= {n: "disk" for n in places if n.startswith(decoder) or n == "lm_head"}
    placed = {n: p for n, p in places.items() if list(model.get_submodule(n).parameters())}
    bare = [n for n, _ in model.named_parameters() if n.rpartition(".")[0] not in placed]
    placed |= dict.fromkeys(bare, "cpu")
    dispatch_model(model, placed, offload_dir=tmp_path, main_device="cpu", force_hooks=True)
    with vl.HookedVLM(model, processor) as vlm:
        assert any(p.is_meta for p in vlm.hf_model.parameters())
        looked_at(vlm, run, cut)
        with pytest.raises(InputError, match="revision="):
            _ = vlm.revision


class Packed(nn.Module):
    """A linear map whose weight is kept as bytes, as quantised ones are."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.scale = float(linear.weight.detach().abs().max()) / 127
        packed = (linear.weight.detach() / self.scale).round().to(torch.int8).view(torch.uint8)
        self.weight = nn.Parameter(packed.reshape(-1, 1), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x):
        weight = self.weight.view(torch.int8).reshape(self.out_features, self.in_features)
        return nn.functional.linear(x, weight.to(x.dtype) * self.scale, self.bias)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_packed(name):
    model, processor = build(name)
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and path != "lm_head":
            parent, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(parent), leaf, Packed(module))
    with vl.HookedVLM(model, processor) as vlm:
        found = vlm.audit()
        assert found.holds, str(found)
        where = vl.Where(layers=0, heads=1)
        given = made(vlm)
        by_write = vlm.run(given, [ZeroAblate(point="blocks.*.attn.hook_result", where=where)])
        by_z = vlm.run(given, [ZeroAblate(point="blocks.*.attn.hook_z", where=where)])
        assert_close(by_write.logits, by_z.logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_points_keep_their_dtype(name, dtype):
    model, processor = build(name)
    with vl.HookedVLM(model.to(dtype), processor) as vlm:
        given = made(vlm)
        plain = vlm.run(given)
        run = vlm.run(given, save="*")
        assert torch.equal(run.logits, plain.logits)
        exact = ("cos", "sin", "rot_q", "rot_k")  # towers may turn in float32
        for point, tensor in run.saved.items():
            if not point.startswith("vision.") or not point.endswith(exact):
                assert tensor.dtype == dtype, point
