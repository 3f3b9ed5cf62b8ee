"""Whatever could change a result changes its key, and nothing else does."""

import copy
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import QUESTIONS, build, picture
from peft import LoraConfig
from torch import Tensor, nn

import vlmlens as vl
from vlmlens import probes, zoo
from vlmlens.errors import DataError
from vlmlens.experiments import (
    Answering,
    Cell,
    Diagnosing,
    Experiment,
    Measure,
    Probing,
    sweep,
)
from vlmlens.identity import libraries
from vlmlens.interventions import Edit, Intervention, PatchFrom, PermuteVision, Scale


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM(*copy.deepcopy(build("llava"))) as opened:
        yield opened


def asked(count=2, **more):
    return [
        vl.Sample(QUESTIONS[n % 2], (picture(n),), answer="red", id=str(n), **more)
        for n in range(count)
    ]


def key(model, samples=None, edits=(), measure=None):
    return Cell(model, tuple(samples or asked()), tuple(edits), measure or Answering()).key


# Samples, edits and measures.


@dataclass(frozen=True, eq=False)
class Steering(Intervention):
    point: str = "hook_embed"
    vector: Tensor | None = None


def long_vector(at, value):
    vector = torch.zeros(2000)
    vector[at] = value
    return vector


def cache(value):
    return vl.ActivationCache({"hook_embed": torch.full((1, 2, 3), value)}, {})


def layer(value):
    made = nn.Linear(2, 2)
    nn.init.constant_(made.weight, value)
    nn.init.zeros_(made.bias)
    return made


@dataclass(frozen=True)
class Holding(Measure):
    held: object = None


ONE, TWO = asked()
LOOP = {k: (lambda x, k=k: x * k) for k in (1, 2)}
CELLS = {
    "as it is": {},
    "question": {"samples": [replace(ONE, question="Where?"), TWO]},
    "picture": {"samples": [replace(ONE, images=(picture(9),)), TWO]},
    "two pictures": {"samples": [replace(ONE, images=(picture(0),) * 2), TWO]},
    "answer": {"samples": [replace(ONE, answer="blue"), TWO]},
    "no answer": {"samples": [replace(ONE, answer=None), TWO]},
    "choices": {"samples": [replace(ONE, choices=("red",)), TWO]},
    "id": {"samples": [replace(ONE, id="7"), TWO]},
    "order": {"samples": [TWO, ONE]},
    "fewer": {"samples": [ONE]},
    "edit": {"edits": [PermuteVision()]},
    "seed": {"edits": [PermuteVision(seed=1)]},
    "point": {"edits": [PermuteVision(point="blocks.1.hook_resid_pre")]},
    "where": {"edits": [Scale(point="hook_embed", where=vl.Where(heads=1))]},
    "where else": {"edits": [Scale(point="hook_embed", where=vl.Where(layers=1))]},
    "by": {"edits": [Scale(point="hook_embed", where=vl.Where(layers=1), by=2.0)]},
    "two edits": {"edits": [PermuteVision(), PermuteVision(seed=1)]},
    "turned edits": {"edits": [PermuteVision(seed=1), PermuteVision()]},
    "vector": {"edits": [Steering(vector=long_vector(1000, 1.0))]},
    "its middle": {"edits": [Steering(vector=long_vector(1001, 1.0))]},
    "source": {"edits": [PatchFrom(source=cache(1.0))]},
    "other source": {"edits": [PatchFrom(source=cache(2.0))]},
    "a layer": {"edits": [Edit("hook_embed", by=layer(1.0))]},
    "its weights": {"edits": [Edit("hook_embed", by=layer(2.0))]},
    "first of a loop": {"edits": [Edit("hook_embed", by=LOOP[1])]},
    "second of it": {"edits": [Edit("hook_embed", by=LOOP[2])]},
    "system": {"measure": Answering(system="Be brief.")},
    "tokens": {"measure": Answering(max_new_tokens=3)},
    "measure": {"measure": Diagnosing()},
    "probe": {"measure": Probing(probes=(probes.hidden_norms,))},
    "probes": {"measure": Probing(probes=(probes.hidden_norms, probes.rope_sensitivity))},
    "delta": {"measure": Probing(probes=(partial(probes.rope_sensitivity, delta=2.0),))},
    "lambda": {"measure": Probing(probes=(lambda run: run.logits,))},
    "other lambda": {"measure": Probing(probes=(lambda run: -run.logits,))},
    "table": {"measure": Holding(held=xr.DataArray(np.zeros(2000)))},
    "its middle value": {"measure": Holding(held=xr.DataArray(long_vector(1000, 1.0).double()))},
}


@pytest.mark.slow
def test_every_part_of_a_cell_changes_its_key(model):
    keys = {name: key(model, **given) for name, given in CELLS.items()}
    assert len(set(keys.values())) == len(keys), sorted(keys, key=keys.__getitem__)
    assert keys == {name: key(model, **given) for name, given in CELLS.items()}


def test_a_category_changes_the_key_where_somebodys_own_code_may_read_it(model):
    def both(**more):
        return [key(model, asked(category=category), **more) for category in ("one", "other")]

    plain, own = both(), both(measure=Probing(probes=(lambda run: run.logits,)))
    assert plain[0] == plain[1]
    assert own[0] != own[1]


# The model.


def put(holder, name, value):
    """A change that sets an attribute, and sets it back."""

    @contextmanager
    def change(model):
        at = holder(model)
        before = getattr(at, name)
        setattr(at, name, value(before) if callable(value) else value)
        yield
        setattr(at, name, before)

    return change


def write(find, into=None):
    """A change that writes into a tensor, past its version, and writes back."""

    @contextmanager
    def change(model):
        tensor = find(model.hf_model).data
        before = tensor.clone()
        tensor.view(-1)[-1] += 1
        yield
        tensor.copy_(before)

    return change


@contextmanager
def with_adapter(model):
    model.hf_model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    yield
    model.hf_model.delete_adapter("default")


@contextmanager
def half(model):
    before = copy.deepcopy(model.hf_model.state_dict())
    model.hf_model.to(torch.bfloat16)
    yield
    model.hf_model.to(torch.float32)
    model.hf_model.load_state_dict(before)


@contextmanager
def autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield


@contextmanager
def replaced(model):
    mlp = model.hf_model.model.language_model.layers[0].mlp
    mlp.forward = lambda x: x
    yield
    del mlp.forward


@contextmanager
def swapped(model):
    mlp = model.hf_model.model.language_model.layers[0].mlp
    before, mlp.act_fn = mlp.act_fn, nn.Identity()
    yield
    mlp.act_fn = before


@contextmanager
def among_globals(model):
    home = sys.modules[type(lm(model.hf_model).layers[0]).__module__]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(home, "apply_rotary_pos_emb", lambda q, k, *more, **named: (q, k))
        yield


@contextmanager
def in_a_class(model):
    kind = type(lm(model.hf_model).layers[0].mlp)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, "forward", lambda self, x: x)
        yield


@contextmanager
def other_version(model, name="transformers"):
    real = libraries._version
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(libraries, "_version", lambda top: "9.9" if top == name else real(top))
        yield


def lm(model):
    return model.model.language_model


def config(model):
    return model.hf_model.config


CHANGES = {
    "a weight": write(lambda m: lm(m).layers[0].mlp.up_proj.weight),
    "a weight of the tower": write(lambda m: next(m.model.vision_tower.parameters())),
    "the projector": write(lambda m: next(m.model.multi_modal_projector.parameters())),
    "a rotary buffer": write(lambda m: lm(m).rotary_emb.inv_freq),
    "a setting": put(config, "vision_feature_layer", -1),
    "a strategy": put(config, "vision_feature_select_strategy", "full"),
    "a setting of the language model": put(lambda m: config(m).text_config, "rms_norm_eps", 0.1),
    "a setting of generation": put(
        lambda m: m.hf_model.generation_config, "repetition_penalty", 1.3
    ),
    "a module's own number": put(
        lambda m: lm(m.hf_model).layers[0].self_attn, "scaling", lambda was: was * 2
    ),
    "training": put(lambda m: lm(m.hf_model).layers[0], "training", True),
    "an adapter": with_adapter,
    "dtype": half,
    "autocast": autocast,
    "a forward": replaced,
    "an activation function": swapped,
    "a forward of its class": in_a_class,
    "a function that its class calls": among_globals,
    "the mean of pixels": put(
        lambda m: m.processor.image_processor, "image_mean", lambda was: [0.1, *list(was)[1:]]
    ),
    "the size of pictures": put(
        lambda m: m.processor.image_processor, "do_resize", lambda was: not was
    ),
    "the chat template": put(lambda m: m.processor, "chat_template", lambda was: f"{was} "),
    "the tokenizer's template": put(lambda m: m.processor.tokenizer, "chat_template", "other"),
    "the tokenizer's padding": put(lambda m: m.processor.tokenizer, "padding_side", "other"),
    "a patch size of the processor": put(lambda m: m.processor, "patch_size", lambda was: was + 1),
    "the attention": put(
        lambda m: m.implementations, "found", lambda was: dict.fromkeys(was, "eager")
    ),
    "the version of transformers": other_version,
    "the version of torch": partial(other_version, name="torch"),
    "the version of numpy": partial(other_version, name="numpy"),
    "the version of TransformerLens": partial(other_version, name="transformer_lens"),
    "a revision that was said": put(lambda m: m, "_revision", "two"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_every_change_of_a_model_changes_its_keys(model, kind):
    before = key(model)
    with CHANGES[kind](model):
        assert key(model) != before
        assert key(model) == key(model)
    if kind in ("an adapter", "dtype"):
        return  # peft leaves its settings behind, and a cast rounds what is no parameter
    assert key(model) == before


def test_an_adapter_that_is_off_is_another_model():
    copied, processor = copy.deepcopy(build("llava"))
    copied.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    with vl.HookedVLM(copied, processor) as model:
        on = key(model)
        copied.disable_adapters()
        assert key(model) != on
        copied.enable_adapters()
        assert key(model) == on


def test_our_own_version_and_our_own_code_count(model, monkeypatch):
    before = key(model)
    with monkeypatch.context() as patched:
        patched.setattr(vl, "__version__", "9.9.9")
        assert key(model) != before
    with monkeypatch.context() as patched:
        patched.setattr(libraries, "_sources", lambda: "other")
        assert key(model) != before
    assert key(model) == before


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3", "idefics3", "llama4", "qwen3_5"])
def test_what_a_model_did_last_changes_no_key(name):
    with vl.HookedVLM(*build(name), name="one") as model:
        before = key(model)
        inputs = model.inputs([picture(0), picture(1, (40, 60))], ["What?", "Where is it?"])
        model.run(inputs, save=["blocks.*.hook_resid_post"])
        model.generate(inputs, max_new_tokens=2)
        model.name = "other"
        assert key(model) == before
    with vl.HookedVLM(*build(name)) as model:
        assert key(model) == before


def test_weights_that_are_offloaded_are_known_by_their_revision():
    from accelerate import cpu_offload

    copied, processor = copy.deepcopy(build("llava"))
    cpu_offload(copied, execution_device=torch.device("cpu"))
    with vl.HookedVLM(copied, processor, revision="one") as model:
        one = key(model)
        assert key(model) == one
    with vl.HookedVLM(copied, processor, revision="two") as model:
        assert key(model) != one
    with (
        vl.HookedVLM(copied, processor) as model,
        pytest.raises(vl.VLMLensError, match="revision="),
    ):
        key(model)


# Folders of models.


def edited(folder, name, change):
    path = folder / name
    path.write_text(change(path.read_text()))


def test_the_revision_of_a_folder_is_that_of_its_files_contents(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(zoo.bundled()["shapes-base"], folder)
    with vl.HookedVLM.from_pretrained(str(folder)) as model:
        before, opened = model.revision, model.hf_model

    def revision():
        return zoo.revision(str(folder), opened)

    assert revision() == before
    shutil.copytree(folder, tmp_path / "copy")
    assert zoo.revision(str(tmp_path / "copy"), opened) == before
    (folder / "README.md").write_text("other words")
    assert revision() == before
    seen = {before}
    for name in ("chat_template.jinja", "merges.txt", "tokenizer.model", "added.json"):
        (folder / name).write_text("other")
        seen.add(revision())
    assert len(seen) == 5


def test_the_end_of_a_large_file_counts_whatever_its_date_says(tmp_path):
    import os

    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(80 * 2**20)
    opened = build("llava")[0]
    before, dates = zoo.revision(str(tmp_path), opened), path.stat()
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert zoo.revision(str(tmp_path), opened) != before


# Hooks that are on.


def doubling(x, hook=None):
    return 2 * x


class Doubling:
    def __call__(self, *given):
        return None


@contextmanager
def raw(model, hook, before=False):
    layer = model.hf_model.model.language_model.layers[0]
    put = layer.register_forward_pre_hook if before else layer.register_forward_hook
    handle = put(hook)
    yield
    handle.remove()


@contextmanager
def of_a_point(model):
    model.add_hook("hook_embed", doubling)
    yield
    model.reset_hooks()


@contextmanager
def of_every_module(model):
    handle = nn.modules.module.register_module_forward_hook(lambda *given: None)
    yield
    handle.remove()


HOOKS = {
    "add_hook": of_a_point,
    "hooks": lambda model: model.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", doubling)]),
    "backwards": lambda model: model.hooks(bwd_hooks=[("blocks.0.hook_mlp_out", doubling)]),
    "torch": lambda model: raw(model, lambda *given: None),
    "torch, before": lambda model: raw(model, lambda *given: None, before=True),
    "torch, a partial": lambda model: raw(model, partial(doubling, 1)),
    "torch, decorated": lambda model: raw(model, torch.no_grad()(lambda *given: None)),
    "torch, an object": lambda model: raw(model, Doubling()),
    "torch, everywhere": of_every_module,
}


@pytest.mark.parametrize("kind", HOOKS)
def test_nothing_is_stored_while_somebodys_hook_is_on(model, kind, tmp_path):
    experiment = Experiment(model, asked(), Probing(probes=(probes.hidden_norms,)))
    with HOOKS[kind](model):
        with pytest.raises(DataError, match=r"a hook is on at .*reset_hooks"):
            experiment.run(tmp_path)
        with pytest.raises(DataError, match="a hook is on"):
            sweep(model, asked(1)[0], edit=Scale(), folder=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
    experiment.run(tmp_path)
