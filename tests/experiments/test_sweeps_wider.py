"""Every kind of sweep equals plain torch hooks on transformers' own modules."""

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_apart, assert_close
from conftest import build, by_turns, picture
from torch_hooks import plain, putting

import vlmlens as vl
from vlmlens.datasets import counterfactual_pairs
from vlmlens.errors import InputError, VLMLensError
from vlmlens.experiments import SampleScore, sweep
from vlmlens.interventions import AddNoise, DropTokens, PatchFrom, ZeroAblate

QUESTION = "What color is the circle?"
VISION = vl.Where(positions="vision")
HEADS = "blocks.*.attn.hook_z"


@pytest.fixture(scope="module", params=by_turns(["shapes-base", "qwen2_5_vl"], ["qwen2_5_vl"]))
def case(request):
    """A model, two samples that align, and what both are given."""
    if request.param == "shapes-base":
        model = vl.HookedVLM.from_pretrained(request.param)
        pair = counterfactual_pairs(1, kind="swap", category="color_rel")[0]
        samples = pair.clean, pair.corrupted
    else:
        model = vl.HookedVLM(*build(request.param))
        samples = tuple(
            vl.Sample(QUESTION, (picture(seed),), answer=answer)
            for seed, answer in ((0, "red"), (1, "blue"))
        )
    with model:
        yield model, *samples


@pytest.fixture(scope="module")
def gap(case):
    """logit(right) - logit(wrong) of the last position's logits, by hand."""
    model, clean, other = case
    right, wrong = (first(model, sample) for sample in (clean, other))
    return lambda logits: float(logits[-1, right] - logits[-1, wrong])


def first(model, sample):
    prompt = model.inputs([sample]).tensors["input_ids"].shape[1]
    return int(model.inputs([sample], answers=[sample.answer]).tensors["input_ids"][0, prompt])


def blocks(model):
    return model.family.lm_layers


def some(cells, seed=0, count=4):
    """A few cells of a map, by their labels."""
    flat = cells.isel(sample=0).stack(at=[d for d in cells.dims if d != "sample"])
    chosen = np.random.default_rng(seed).choice(flat.sizes["at"], count, replace=False)
    return [(flat["at"].values[n], float(flat[n])) for n in chosen]


def test_heads_at_positions(case, gap):
    model, clean, other = case
    found = sweep(
        model, clean, other, HEADS, over=("head", "pos"), normalized=False, progress=False
    )
    assert found.dims == ("sample", "layer", "head", "pos")
    assert "token" in found.coords
    inputs, base = model.inputs([clean]), model.inputs([other])
    paths = [f"{blocks(model)}.{at}.self_attn.o_proj" for at in range(model.layers)]
    _, kept, _ = plain(model, inputs, keep=[(path, "in") for path in paths])
    floor = plain(model, base)
    size, moved = model.cfg.d_head, 0.0
    for (layer, head, pos), value in some(found, count=6):
        at = (0, pos, slice(head * size, (head + 1) * size))
        change = putting(kept[paths[layer], "in"], at)
        patched = plain(model, base, [(paths[layer], "in", change)])
        assert_close(value, gap(patched) - gap(floor), like=floor)
        moved = max(moved, abs(value))
    strongest = abs(found).max().item()
    assert strongest > 0


def test_windows_of_layers(case, gap):
    model, clean, other = case
    found = sweep(
        model,
        clean,
        other,
        "blocks.*.hook_mlp_out",
        over="role",
        window=2,
        normalized=False,
        progress=False,
    )
    inputs, base = model.inputs([clean]), model.inputs([other])
    mask = inputs.layouts[0].mask("vision")
    paths = [f"{blocks(model)}.{at}.mlp" for at in range(model.layers)]
    _, kept, _ = plain(model, inputs, keep=[(path, "out") for path in paths])
    floor = plain(model, base)
    for layer in range(model.layers):
        window = range(max(0, layer - 1), layer + 1)  # two of them: this one and the one before
        changes = [(paths[n], "out", putting(kept[paths[n], "out"], (0, mask))) for n in window]
        patched = plain(model, base, changes)
        assert_close(
            found.sel(layer=layer, role="vision").item(), gap(patched) - gap(floor), like=floor
        )
    assert found.attrs["window"] == 2


def test_neurons(case, gap):
    model, clean, other = case
    where = vl.Where(positions="last", neurons=(0, 3, -1))
    found = sweep(
        model,
        clean,
        other,
        "blocks.*.mlp.hook_post",
        over="neuron",
        where=where,
        normalized=False,
        progress=False,
    )
    width = model.cfg.d_mlp
    assert found["neuron"].values.tolist() == [0, 3, width - 1]
    inputs, base = model.inputs([clean]), model.inputs([other])
    paths = [f"{blocks(model)}.{at}.mlp.down_proj" for at in range(model.layers)]
    _, kept, _ = plain(model, inputs, keep=[(path, "in") for path in paths])
    floor = plain(model, base)
    for (layer, neuron), value in some(found):
        change = putting(kept[paths[layer], "in"], (0, -1, neuron))
        patched = plain(model, base, [(paths[layer], "in", change)])
        assert_close(value, gap(patched) - gap(floor), like=floor)


def test_cells_of_patterns(case, gap):
    """Of one head's pattern: from one query to one key, by hand through the values."""
    model, clean, other = case
    where = vl.Where(heads=1, queries="last", layers=1)
    found = sweep(
        model,
        clean,
        other,
        "blocks.*.attn.hook_pattern",
        over=("query", "key"),
        where=where,
        normalized=False,
        progress=False,
    )
    assert found.dims == ("sample", "layer", "query", "key")
    by_role = sweep(
        model,
        clean,
        other,
        "blocks.*.attn.hook_pattern",
        over=("query_role", "key_role"),
        where=vl.Where(heads=1, layers=1),
        normalized=False,
        progress=False,
    )
    inputs, base = model.inputs([clean]), model.inputs([other])
    layer, size = f"{blocks(model)}.1.self_attn", model.cfg.d_head
    with model.implementations.plain():  # which puts vlmlens's own back at the end
        model.hf_model.set_attn_implementation("eager")
        _, kept, there = plain(
            model, base, keep=[(f"{layer}.v_proj", "out")], output_attentions=True
        )
        _, _, here = plain(model, inputs, output_attentions=True)
    moved = (here.attentions[1] - there.attentions[1])[0, 1]  # query key
    shared = model.cfg.n_heads // (model.cfg.n_key_value_heads or model.cfg.n_heads)
    kv = 1 // shared
    values = kept[f"{layer}.v_proj", "out"][0][:, kv * size : (kv + 1) * size]
    floor, layout = plain(model, base), base.layouts[0]

    def patched(queries, keys):
        def change(z):
            z[0, queries, size : 2 * size] += moved[queries][:, keys] @ values[keys]
            return z

        return gap(plain(model, base, [(f"{layer}.o_proj", "in", change)]))

    last = len(layout) - 1
    for key in (0, int(layout.positions("vision")[3]), last):
        value = found.sel(layer=1, query=last, key=key).item()
        assert_close(value, patched([last], [key]) - gap(floor), like=floor)
    user, vision = (layout.positions(role).tolist() for role in ("user", "vision"))
    value = by_role.sel(layer=1, query_role="user", key_role="vision").item()
    assert_close(value, patched(user, vision) - gap(floor), like=floor)


def test_all_of_a_layer(case, gap):
    model, clean, other = case
    found = sweep(model, clean, other, HEADS, over="layer", normalized=False, progress=False)
    assert found.dims == ("sample", "layer")
    by_head = sweep(
        model, clean, other, HEADS, over="head", where=vl.Where(heads=range(model.cfg.n_heads)),
        normalized=False, progress=False,
    )  # fmt: skip
    assert by_head.sizes["head"] == model.cfg.n_heads
    inputs, base = model.inputs([clean]), model.inputs([other])
    path = f"{blocks(model)}.1.self_attn.o_proj"
    _, kept, _ = plain(model, inputs, keep=[(path, "in")])
    floor = plain(model, base)
    patched = plain(model, base, [(path, "in", putting(kept[path, "in"], ...))])
    assert_close(found.sel(layer=1).item(), gap(patched) - gap(floor), like=floor)


# The tower and the projector.


def test_the_tower(case, gap):
    model, clean, other = case
    found = sweep(
        model,
        clean,
        other,
        "vision.blocks.*.hook_resid_pre",
        over="patch",
        where=vl.Where(layers=(0, -1), patches=(1, 2, 5)),
        normalized=False,
        progress=False,
    )
    assert found.dims == ("sample", "layer", "patch")
    assert found.attrs["whole_passes"] == found.size
    inputs, base = model.inputs([clean]), model.inputs([other])
    paths = {at: f"{model.family.vision_layers}.{at}" for at in found["layer"].values}
    _, kept, _ = plain(model, inputs, keep=[(path, "in") for path in paths.values()])
    floor = plain(model, base)
    for (layer, patch), value in some(found):
        source = kept[paths[layer], "in"]
        at = (slice(None),) * (source.ndim - 2) + (patch,)
        patched = plain(model, base, [(paths[layer], "in", putting(source, at))])
        assert_close(value, gap(patched) - gap(floor), like=floor)
    heads = sweep(
        model, clean, edit=ZeroAblate(), point="vision.blocks.*.attn.hook_z", over="head",
        score="log_prob", progress=False,
    )  # fmt: skip
    edit = ZeroAblate("vision.blocks.0.attn.hook_z", vl.Where(heads=1))
    cut, whole = (model.run(inputs, e).logits[0, -1].log_softmax(-1) for e in (edit, ()))
    right = first(model, clean)
    assert_close(heads.sel(layer=0, head=1).item(), cut[right] - whole[right], like=whole)


def test_the_projector(case, gap):
    model, clean, other = case
    tokens = "row" if model.family.raster else "patch"
    found = sweep(
        model, clean, other, "projector.hook_out", over=tokens, normalized=False, progress=False
    )
    assert found.dims == ("sample", tokens)
    inputs, base = model.inputs([clean]), model.inputs([other])
    path = model.family.projector
    _, kept, _ = plain(model, inputs, keep=[(path, "out")])
    floor, source = plain(model, base), kept[path, "out"]
    columns = inputs.layouts[0].grid(0)[1]
    for number in (0, 2):
        at = number if tokens == "patch" else slice(number * columns, (number + 1) * columns)
        index = (slice(None),) * (source.ndim - 2) + (at,)
        patched = plain(model, base, [(path, "out", putting(source, index))])
        value = found.sel({tokens: number}).item()
        assert_close(value, gap(patched) - gap(floor), like=floor)


# What corrupts.


def noisy(model, sample, edit):
    """What enters block 0 under an edit of it; all else of the pass is by hand."""
    inputs = model.inputs([sample])
    return model.run(inputs, edit, save="hook_embed").saved["hook_embed"]


def test_noise_on_the_images_embeddings(case):
    model, clean, _ = case
    noise = AddNoise("hook_embed", VISION, by=2.0, seed=1)
    found = sweep(model, clean, corrupt=noise, score="log_prob", progress=False)
    inputs, right = model.inputs([clean]), first(model, clean)
    embedded = noisy(model, clean, noise)
    first_block = f"{blocks(model)}.0"
    begin = (first_block, "in", lambda x: embedded)
    paths = [f"{blocks(model)}.{at}" for at in range(model.layers)]
    top, kept, _ = plain(model, inputs, keep=[(path, "in") for path in paths])
    floor = plain(model, inputs, [begin])

    def said(logits):
        return float(logits[-1].log_softmax(-1)[right])

    assert_close(found["clean"].item(), said(top), like=top)
    assert_close(found["corrupted"].item(), said(floor), like=top)
    for (layer, pos), value in some(found, count=6):
        change = putting(kept[paths[layer], "in"], (0, pos))
        patched = plain(model, inputs, [begin, (paths[layer], "in", change)])
        scaled = (said(patched) - said(floor)) / (said(top) - said(floor))
        like = top / (said(top) - said(floor))
        assert_close(value, scaled, like=like)
    assert found.attrs["whole_passes"] == 0


@pytest.mark.parametrize(
    "corrupt",
    [
        ZeroAblate("blocks.0.hook_mlp_out", VISION),
        [AddNoise("hook_embed", VISION), ZeroAblate("blocks.1.attn.hook_z", vl.Where(heads=0))],
        AddNoise("blocks.1.hook_resid_pre", vl.Where(positions="user")),
    ],
    ids=["mlp", "two", "later"],
)
def test_any_corruption_is_a_loop_of_whole_passes(any_vlm, corrupt):
    sample = vl.Sample(QUESTION, (picture(0),), answer="red")
    found = sweep(
        any_vlm, sample, corrupt=corrupt, point="blocks.*.hook_resid_mid", over="role",
        score="kl", normalized=False, progress=False,
    )  # fmt: skip
    inputs = any_vlm.inputs([sample])
    source = any_vlm.run(inputs, save="blocks.*.hook_resid_mid")
    edits = corrupt if isinstance(corrupt, list) else [corrupt]
    p = source.logits[0, -1].log_softmax(-1)

    def kl(run):
        return float((p.exp() * (p - run.logits[0, -1].log_softmax(-1))).sum())

    floor = kl(any_vlm.run(inputs, edits))
    assert_close(found["corrupted"].item(), floor, like=source.logits)
    assert found["clean"].item() == pytest.approx(0, abs=1e-6)
    for layer in range(any_vlm.layers):
        edit = PatchFrom(
            f"blocks.{layer}.hook_resid_mid", vl.Where(positions="user"), source=source.saved
        )
        patched = kl(any_vlm.run(inputs, [*edits, edit]))
        value = found.sel(layer=layer, role="user").item()
        assert_close(value, patched - floor, like=source.logits)


def test_noise_is_the_samples_own(case):
    model, clean, other = case
    noise = AddNoise("hook_embed", VISION, by=2.0, seed=3)
    alone = [noisy(model, sample, noise) for sample in (clean, other)]
    both = model.run(model.inputs([clean, other]), noise, save="hook_embed").saved["hook_embed"]
    layouts = model.inputs([clean, other]).layouts
    for row, layout in enumerate(layouts):
        own = torch.from_numpy(~layout.mask("pad"))
        assert_close(both[row][own], alone[row][0])
    plainly = model.run(model.inputs([clean]), save="hook_embed").saved["hook_embed"][0]
    seen = torch.from_numpy(layouts[0].mask("vision"))[-len(plainly) :]
    assert torch.equal(alone[0][0][~seen], plainly[~seen])
    drawn = (alone[0][0] - plainly)[seen] / plainly[seen].std(correction=0)
    assert drawn.std().item() == pytest.approx(2.0, rel=0.1)
    assert drawn.mean().item() == pytest.approx(0.0, abs=0.2)
    assert_apart(noisy(model, clean, AddNoise("hook_embed", VISION, seed=4)), alone[0])


# What is read.


def test_ablation_by_given_answers(case):
    model, clean, _ = case
    answers = ("red", "blue")
    found = sweep(
        model, clean, edit=ZeroAblate(), point="blocks.*.hook_mlp_out", over="layer",
        answers=answers, progress=False,
    )  # fmt: skip
    inputs = model.inputs([clean])
    size = inputs.tensors["input_ids"].shape[1]
    right, wrong = (
        int(model.inputs([clean], answers=[a]).tensors["input_ids"][0, size]) for a in answers
    )
    path = f"{blocks(model)}.1.mlp"
    cut = plain(model, inputs, [(path, "out", torch.zeros_like)])
    whole = plain(model, inputs)
    expected = (cut - whole)[-1, right] - (cut - whole)[-1, wrong]
    assert_close(found.sel(layer=1).item(), expected, like=whole)
    two = vl.Sample(clean.question, clean.images, "red", choices=answers)
    chosen = sweep(
        model, two, edit=ZeroAblate(), point="blocks.*.hook_mlp_out", over="layer", progress=False
    )
    np.testing.assert_allclose(chosen.values, found.values)


LONG = ("the red circle", "a blue star on the left")


@pytest.mark.parametrize("score", ["answer_log_prob", "answer_difference"])
def test_answers_of_several_tokens(case, score):
    model, clean, other = case
    where = vl.Where(positions="last")
    found = sweep(
        model, clean, other, over="layer", where=where, score=score, answers=LONG,
        normalized=False, progress=False,
    )  # fmt: skip

    def log_prob(sample, answer, changes=(), keep=()):
        inputs = model.inputs([sample], answers=[answer])
        logits, kept, _ = plain(model, inputs, changes, keep or [(blocks(model) + ".0", "in")])
        ids = inputs.tensors["input_ids"][0]
        at = torch.as_tensor(inputs.layouts[0].positions("assistant"))
        assert len(at) > 3
        return float(logits[at - 1].log_softmax(-1).gather(1, ids[at][:, None]).sum()), kept

    path = f"{blocks(model)}.1"
    last = model.inputs([clean]).tensors["input_ids"].shape[1] - 1  # of the prompt
    value = 0.0
    said = LONG if score == "answer_difference" else LONG[:1]
    for answer, sign in zip(said, (1, -1), strict=False):
        _, kept = log_prob(clean, answer, keep=[(path, "in")])
        change = (path, "in", putting(kept[path, "in"], (0, last)))
        value += sign * (log_prob(other, answer, [change])[0] - log_prob(other, answer)[0])
    like = plain(model, model.inputs([clean])) * len(said) * 8
    assert_close(found.sel(layer=1).item(), value, like=like)
    assert found.attrs["units"] == "nats"


def test_a_score_that_knows_its_sample_and_any_positions(case):
    model, clean, other = case
    seen = []

    def of_the_words(logits, sample, layout):
        seen.append((sample.id, len(layout), tuple(logits.shape)))
        return logits[:, 0, 7] + logits[:, -1, 9]

    score = SampleScore(of_the_words, positions="user", units="logits")
    where = vl.Where(positions="vision")
    found = sweep(
        model, clean, other, over="layer", where=where, score=score, normalized=False,
        progress=False,
    )  # fmt: skip
    inputs, base = model.inputs([clean]), model.inputs([other])
    user, vision = (base.layouts[0].positions(role) for role in ("user", "vision"))
    path = f"{blocks(model)}.1"
    _, kept, _ = plain(model, inputs, keep=[(path, "in")])

    def read(logits):
        return float(logits[user[0], 7] + logits[user[-1], 9])

    floor = plain(model, base)
    patched = plain(model, base, [(path, "in", putting(kept[path, "in"], (0, vision)))])
    assert_close(found.sel(layer=1).item(), read(patched) - read(floor), like=floor)
    assert found.attrs["units"] == "logits"
    assert {(name, size) for name, size, _ in seen} == {(clean.id, len(base.layouts[0]))}
    assert all(shape[1] == len(user) for _, _, shape in seen)


# Where it is taken from.


def test_back_patching(case):
    """A later block's stream at the last position, read again from earlier blocks on."""
    model, clean, _ = case
    last = model.layers - 1
    found = sweep(
        model,
        clean,
        over="layer",
        where=vl.Where(positions="last", layers=range(last)),
        source_point=f"blocks.{last}.hook_resid_post",
        score="log_prob",
        progress=False,
    )
    inputs, right = model.inputs([clean]), first(model, clean)
    path = f"{blocks(model)}.{last}"
    whole, kept, _ = plain(model, inputs, keep=[(path, "out")])
    for layer in range(last):
        change = putting(kept[path, "out"], (0, -1))
        patched = plain(model, inputs, [(f"{blocks(model)}.{layer}", "in", change)])
        expected = (patched[-1].log_softmax(-1) - whole[-1].log_softmax(-1))[right]
        assert_close(found.sel(layer=layer).item(), expected, like=whole)
    own = sweep(
        model, clean, over="layer", where=vl.Where(positions="last"), score="log_prob",
        source_point="blocks.*.hook_resid_post", progress=False,
    )  # fmt: skip
    path = f"{blocks(model)}.1"
    _, kept, _ = plain(model, inputs, keep=[(path, "out")])
    patched = plain(model, inputs, [(path, "in", putting(kept[path, "out"], (0, -1)))])
    expected = (patched[-1].log_softmax(-1) - whole[-1].log_softmax(-1))[right]
    assert_close(own.sel(layer=1).item(), expected, like=whole)


def test_patchscopes(case):
    """One position of a prompt with a picture, put into another prompt without one."""
    model, clean, _ = case
    source, target = model.inputs([clean]), model.inputs(vl.Sample("Describe: x x x"))
    saved = model.run(source, save="blocks.1.hook_resid_post").saved
    vision = int(source.layouts[0].positions("vision")[2])
    edit = PatchFrom(
        "blocks.0.hook_resid_post",
        vl.Where(positions="last"),
        source=saved,
        source_point="blocks.1.hook_resid_post",
        source_positions=vision,
    )
    said = model.run(target, edit).logits[0]
    _, kept, _ = plain(model, source, keep=[(f"{blocks(model)}.1", "out")])
    taken = kept[f"{blocks(model)}.1", "out"][0, vision]

    def change(x):
        x[0, -1] = taken
        return x

    assert_close(said, plain(model, target, [(f"{blocks(model)}.0", "out", change)]))
    assert_apart(said[-1], model.run(target).logits[0, -1])
    resumed = model.resume(model.prefill(target), [[edit]]).logits[0, -1]
    assert_close(resumed, said[-1])


# In a folder, and what is refused.


@pytest.mark.slow
def test_a_folder_tells_what_was_asked_apart(case, tmp_path):
    model, clean, other = case
    usual = {"over": "layer", "point": "blocks.*.hook_mlp_out", "score": "log_prob"}
    usual |= {"folder": tmp_path, "progress": False, "normalized": False}
    noise = AddNoise("hook_embed", VISION)
    asked = [
        {"corrupted": other},
        {"corrupted": other, "window": 2},
        {"corrupted": other, "answers": ("blue", "red")},
        {"corrupted": other, "score": "kl"},
        {"corrupt": noise},
        {"corrupt": AddNoise("hook_embed", VISION, seed=1)},
        {"source_point": "blocks.*.hook_attn_out"},
    ]
    fresh = [sweep(model, clean, **usual | one | {"folder": None}) for one in asked]
    for _ in range(2):
        for one, expected in zip(asked, fresh, strict=True):
            found = sweep(model, clean, **usual | one)
            np.testing.assert_allclose(found.values, expected.values, atol=1e-4)
    assert len({tuple(one.values.ravel().round(5)) for one in fresh}) == len(fresh)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"over": ("head", "banana"), "corrupted": True}, "there is: pos, role"),
        ({"over": (), "corrupted": True}, "a unit is wanted"),
        ({"over": ("row", "cell"), "corrupted": True}, "every dimension of the map comes once"),
        ({"over": "neuron", "corrupted": True}, "there is no neuron"),
        ({"over": "patch", "corrupted": True}, "there is no patch"),
        ({"over": "query", "corrupted": True}, "no query"),
        (
            {"over": "pos", "corrupted": True, "point": "vision.blocks.*.hook_resid_pre"},
            "over='patch'",
        ),
        ({"over": "layer", "window": 0, "corrupted": True}, "window=0"),
        ({"window": 2, "corrupted": True, "point": "hook_embed"}, "belongs to no layer"),
        ({"corrupted": True, "corrupt": AddNoise("hook_embed")}, "pass one of the two"),
        ({"edit": ZeroAblate(), "corrupt": AddNoise("hook_embed")}, "in place of patching"),
        ({"edit": ZeroAblate()}, "between two answers"),
        ({"edit": ZeroAblate(), "answers": "red"}, "a right and a wrong"),
        ({"edit": ZeroAblate(), "answers": [("red", "blue"), ("a", "b")]}, "each of 1 samples"),
        ({"edit": ZeroAblate(), "answers": [("red",)]}, "no pair of a right"),
        ({"corrupt": 3}, "takes an intervention, such as"),
        ({"corrupt": ZeroAblate(), "score": "kl"}, "has no point"),
        (
            {"edit": ZeroAblate(), "answers": ("red", "red"), "score": "answer_difference"},
            "two answers",
        ),
        ({"edit": ZeroAblate(), "score": SampleScore(lambda *_: 3.0)}, "one number a cell"),
        ({"source_point": "blocks.9.hook_resid_pre", "score": "kl"}, "no activation point"),
    ],
)
def test_what_is_refused(options, message):
    clean = vl.Sample(QUESTION, (picture(0),), answer="red")
    other = vl.Sample(QUESTION, (picture(1),), answer="blue")
    options = options | ({"corrupted": other} if options.get("corrupted") is True else {})
    with (
        vl.HookedVLM(*build("llava")) as model,
        as_users(),
        pytest.raises(VLMLensError, match=message),
    ):
        sweep(model, clean, **{"over": "layer", "progress": False, **options})


def test_a_prefill_keeps_edits_of_the_embeddings_alone(case):
    model, clean, _ = case
    inputs = model.inputs([clean])
    noise = AddNoise("hook_embed", VISION)
    edited = model.prefill(inputs, interventions=noise)
    assert_close(edited.logits[0], model.run(inputs, noise).logits[0, -1])
    after = model.prefill(inputs, after=edited)
    assert after.shared == 0
    assert_close(after.logits[0], model.run(inputs).logits[0, -1])
    for other in (ZeroAblate("blocks.0.hook_mlp_out"), DropTokens(where=VISION)):
        with pytest.raises(InputError, match="put it into every cell"):
            model.prefill(inputs, interventions=[noise, other])


def test_what_patching_from_elsewhere_refuses(case):
    model, clean, _ = case
    inputs = model.inputs([clean])
    saved = model.run(inputs, save=["blocks.1.hook_resid_post", HEADS]).saved
    how = {"source": saved, "source_point": "blocks.1.hook_resid_post", "source_positions": "user"}
    point = "blocks.0.hook_resid_post"
    for edit, message in (
        (PatchFrom(point, **how), "goes with Where"),
        (PatchFrom(point, vl.Where(positions="last"), **how), "positions to take from, and 1"),
        (
            PatchFrom(
                point, vl.Where(positions="user"), source=saved, source_point="blocks.1.attn.hook_z"
            ),
            "both need the same",
        ),
        (
            PatchFrom("blocks.0.attn.hook_z", vl.Where(positions="user"), **how),
            "entries of one shape",
        ),
    ):
        with pytest.raises(InputError, match=message):
            model.run(inputs, edit)
