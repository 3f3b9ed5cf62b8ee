"""Draw every figure of docs/gallery.md: ``make gallery``.

Everything is measured on the bundled model and drawn scenes, with fixed seeds. It takes about a
minute and needs Chromium or Chrome, kaleido and playwright.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
import xarray as xr

import vlmlens as vl
from vlmlens import experiments, plots, probes
from vlmlens.datasets import shapes_2d
from vlmlens.datasets.shapes import Drawn, Scene, Shape
from vlmlens.datasets.shapes.pairs import counterfactual_pairs
from vlmlens.interventions import PermuteVision, Scale
from vlmlens.positions import Column
from vlmlens.probes import cmb, norms, rope, rows
from vlmlens.probes.norms import l2

FOLDER = Path(__file__).parent / "images" / "gallery"
SCENE = Scene(
    (
        Shape("square", "blue", 0.27, 0.52, 0.13),
        Shape("circle", "red", 0.72, 0.5, 0.13),
        Shape("star", "green", 0.6, 0.17, 0.12),
    )
)
SAMPLE = vl.Sample("What color is left of the red shape?", (Drawn(SCENE),), "blue")
PICTURE = SAMPLE.pictures()[0]
FLAGS = ("--no-sandbox", "--disable-gpu", "--force-color-profile=srgb")


def heads(model):
    run = model.generate(model.inputs(shapes_2d(48)), save=cmb.NEEDS)
    balance = probes.cross_modality_balance(run)
    lift = (balance / balance["uniform"]).assign_attrs(long_name="CMB / even attention", units="")
    return plots.heads(lift, midpoint=1.0, title="Cross-modality balance over its even value")


def shares(model):
    roles = ("system", "template", "user", "vision", "bos")
    run = model.run(model.inputs(shapes_2d(48)), save=cmb.NEEDS)
    last = run.saved.stack(cmb.NEEDS[0])[..., -1, :].mean(2).numpy()  # layer batch key
    parts = [
        [last[:, i, layout.mask(role)].sum(-1) for role in roles]
        for i, layout in enumerate(run.inputs.layouts)
    ]
    coords = {"role": list(roles), "layer": range(model.layers)}
    found = xr.DataArray(parts, dims=("sample", "role", "layer"), coords=coords)
    return plots.shares(
        found, by="layer", title="Attention of the last prompt token, mean of heads"
    )


def norms_by_depth(model):
    run = model.run(model.inputs(shapes_2d(48)), save=norms.NEEDS)
    return plots.norms(probes.hidden_norms(run, roles=("user", "vision")))


def depth(model):
    points = ("hook_attn_out", "hook_mlp_out", "hook_resid_pre")
    inputs = model.inputs(shapes_2d(48))
    run = model.run(inputs, save=[vl.Save(f"blocks.*.{p}", reduce=l2) for p in points])
    attention, mlp, stream = (run.saved.stack(f"blocks.*.{p}") for p in points)
    made = {"attention": attention / stream, "MLP": mlp / stream}
    vision = torch.from_numpy(np.stack([lay.mask("vision") for lay in inputs.layouts]))
    mean = [[r[:, i, v].mean(-1).numpy() for i, v in enumerate(vision)] for r in made.values()]
    found = xr.DataArray(mean, dims=("part", "sample", "layer"), coords={"part": list(made)})
    named = found.assign_attrs(long_name="length of update / length of stream")
    return plots.depth(named, by="part", title="Relative update of vision tokens")


def steps(model):
    asked = model.inputs([vl.Sample("What is at the top?", (Drawn(SCENE),))])
    said = model.generate(asked, save=cmb.NEEDS, max_new_tokens=8)
    shares = probes.cross_modality_balance(said, steps="each").isel(sample=0)
    tokens = said.tokens[0, : int(said.lengths[0])].tolist()
    words = [model.processor.tokenizer.decode([token]) for token in tokens]
    return plots.steps(shares.isel(step=slice(len(words))), words, by="layer")


def violins(model):
    inputs = model.inputs(shapes_2d(48))
    found = model.run(inputs, save=vl.Save("hook_embed", reduce=l2)).saved["hook_embed"].numpy()
    role = np.array([layout.roles for layout in inputs.layouts])
    kept = np.isin(role, ("vision", "user", "template"))
    named = {"long_name": "L2 norm where it enters block 0"}
    coords = {"role": ("token", role[kept])}
    return plots.violins(xr.DataArray(found[kept], dims="token", coords=coords, attrs=named))


def rope_sensitivity(model):
    inputs = model.inputs(shapes_2d(48))
    end = torch.full((len(inputs), 1), model.config.text_config.eos_token_id)
    shuffled = PermuteVision(seed=0)
    tables = [
        probes.rope_sensitivity(model.run(inputs.appended(end), edits, save=rope.NEEDS))
        for edits in ([], [shuffled])
    ]
    both = xr.concat(tables, "run").assign_coords(run=["in order", "shuffled"])
    return plots.rope(both, by="run")


def psi(model):
    table = experiments.permutation_test(model, shapes_2d(96), permutations=3, progress=False)
    return plots.psi(probes.position_sensitivity_index(table["correct"], table["log_prob"]))


def dose(model):
    samples, rng = shapes_2d(96), np.random.default_rng(0)
    inputs, right = model.inputs(samples), {}
    for share in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0):
        order, moved = np.arange(64), rng.choice(64, round(64 * share), replace=False)
        order[moved] = rng.permutation(moved)
        edits = [PermuteVision(permutation=tuple(order.tolist()))]
        said = model.generate(inputs, edits, max_new_tokens=8)
        right[share] = probes.accuracy(said).values
    doses = ("dose", list(right), {"long_name": "share of vision tokens that are shuffled"})
    found = xr.DataArray(np.stack(list(right.values()), 1), dims=("sample", "dose"))
    named = found.assign_coords(dose=doses).assign_attrs(long_name="accuracy")
    chance = np.mean([1 / len(sample.choices) for sample in samples])
    return plots.dose(named, reference=float(chance))


def overlay(model):
    table = _rows(model)
    at = plots.explorer(table).selection.position
    return plots.overlay(
        PICTURE,
        plots.folded(table["attention"].sel(layer=2, head=0, query=at)),
        title=f"Layer 2, head 0, where the answer begins: {SAMPLE.question}",
    )


def atlas(model):
    table = _rows(model)
    at = plots.explorer(table).selection.position
    maps = plots.folded(table["attention"].sel(query=at))
    return plots.atlas(maps, title=f"Every head where the answer begins: {SAMPLE.question}")


def similarity(model):
    run = model.run(model.inputs([SAMPLE]), save="hook_embed")
    layout = run.inputs.layouts[0]
    x = torch.nn.functional.normalize(run.saved["hook_embed"][0, layout.vision(0)], dim=-1)
    cosine = (x @ x[4 * 8 + 5]).reshape(layout.grid()).numpy()
    grid = plots.placed(xr.DataArray(cosine, dims=("row", "column")), layout)
    return plots.similarity(
        PICTURE, grid, of=(4, 5), title="Projected tokens against the framed one"
    )


def lens(model):
    run = model.run(model.inputs([SAMPLE]), save="blocks.*.hook_resid_post")
    layout = run.inputs.layouts[0]
    stream = run.saved.stack("blocks.*.hook_resid_post")[:, 0, layout.vision(0)]
    language = model.hf_model.model.language_model
    with torch.no_grad():
        log_p = model.hf_model.lm_head(language.norm(stream)).log_softmax(-1)
    best, which = log_p.max(-1)
    words = [model.processor.tokenizer.decode([i]) for i in which.flatten().tolist()]
    shape = (model.layers, *layout.grid())
    dims = ("layer", "row", "column")
    table = xr.Dataset(
        {
            "word": (dims, np.array(words).reshape(shape)),
            "log_prob": (dims, best.reshape(shape).numpy()),
        },
        coords={"layer": range(model.layers)},
    )
    return plots.lens(PICTURE, table, title="What each vision token would be, after the last layer")


def sweep(model):
    pair = counterfactual_pairs(4, kind="swap", category="color_rel")[1]
    effect = experiments.sweep(model, pair.clean, pair.corrupted, progress=False)
    return plots.sweep(effect, title=f"Patching one place at a time: {pair.clean.question}")


def paths(model):
    pairs = counterfactual_pairs(16, kind="swap", category="color_rel")
    clean, corrupted = [pair.clean for pair in pairs], [pair.corrupted for pair in pairs]
    effect = experiments.path_patch(
        model,
        clean,
        corrupted,
        ["embed", "L*H*", "M*"],
        ["L*H*.v", "M*", "logits"],
        normalized=False,
        progress=False,
    )
    return plots.paths(effect, most=14, title="What tells what where the shapes are")


def circuit(model):
    pairs = counterfactual_pairs(16, kind="mirror")
    halves = {"left": Column((0.0, 0.5)), "right": Column((0.5, 1.0))}
    found = experiments.edges(
        model,
        pairs,
        places={**halves, "user": "user", "last": "last"},
        normalized=False,
        batch=8,
        progress=False,
    )
    chosen = experiments.Circuit.top(found, 60).pruned()
    return plots.circuit(chosen.among(found), title="What tells left from right")


def feature(model):
    dictionary = vl.interop.sae.load("shapes-base")
    samples = shapes_2d(48)
    acts = f"{dictionary.point}.hook_sae_acts_post"
    with model.splice(dictionary.point, dictionary):
        run = model.run(model.inputs(samples), save=acts)
    return plots.feature(
        samples,
        probes.most_active(run, acts, 165),
        probes.most_active(run, acts, 165, positions="user", count=6),
        probes.direction_words(model, dictionary.W_dec[165], 6),
    )


FIGURES: dict[str, Callable[..., go.Figure]] = {
    "heads": heads,
    "shares": shares,
    "norms": norms_by_depth,
    "depth": depth,
    "violins": violins,
    "steps": steps,
    "rope": rope_sensitivity,
    "psi": psi,
    "dose": dose,
    "overlay": overlay,
    "atlas": atlas,
    "similarity": similarity,
    "lens": lens,
    "sweep": sweep,
    "paths": paths,
    "circuit": circuit,
    "feature": feature,
}


def explorer(model) -> Path:
    """The explorer, with the object left of the red shape chosen, on a page of its own."""
    table = _rows(model)
    doubled = [Scale(point="hook_embed", by=0.5, where=vl.Where(positions="vision"))]
    halved = _rows(model, doubled)
    box = [edge * PICTURE.width for edge in SCENE.shapes[0].box]
    area = model.inputs([SAMPLE]).layouts[0].within(box)
    runs = {"intact": table, "image halved": halved}
    return plots.explorer(runs).select(area=area, layer=1, head=0).save("results/explorer.html")


def photograph(page: Path, path: Path) -> None:
    """A page as a reader sees it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=list(FLAGS),
        )
        shown = browser.new_page(viewport={"width": 1200, "height": 700}, device_scale_factor=1.5)
        shown.goto(page.resolve().as_uri())
        shown.wait_for_selector("#explorer[data-ready]")
        shown.locator("#explorer").screenshot(path=path)
        browser.close()


def _rows(model, edits=()):
    run = model.run(model.inputs([SAMPLE], answers=["blue"]), list(edits), save=rows.NEEDS)
    return probes.attention_rows(run)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        for name, draw in FIGURES.items():
            print(plots.export(draw(opened), FOLDER / f"{name}.png", width=760, scale=1.5))
        print(
            plots.export(
                plots.dark(norms_by_depth(opened)), FOLDER / "dark.png", width=760, scale=1.5
            )
        )
        photograph(explorer(opened), FOLDER / "explorer.png")
