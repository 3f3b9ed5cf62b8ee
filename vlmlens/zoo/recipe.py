"""How the shapes models were trained, end to end: ``python -m vlmlens.zoo.recipe --out FOLDER``.

LLaVA's staged recipe in miniature. The tower learns what and where each patch is and is then
frozen; projector and language model learn together to answer, first look-ups (what is red? which
row?), then relations and places. Every step sees fresh pictures of training layouts, and several
questions share a picture: each attends to the picture and to itself, as if it stood alone. The
run is seeded by step, so that one that is cut off goes on where it was.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from einops import rearrange
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from vlmlens.datasets.shapes_2d.questions import (
    ABSOLUTE,
    CAPTION,
    LESSON,
    RELATIVE,
    Question,
    ask,
    caption,
)
from vlmlens.datasets.shapes_2d.scene import COLORS, SHAPES, Scene, random_scene
from vlmlens.zoo.shapes import GRID, IMAGE_SIZE, SYSTEM, shapes_config, shapes_processor

LOOKUPS = {"object": 4.0, "exist": 2.0, "count": 0.5, "color_abs": 0.5, "shape_color_abs": 0.5}
EVERYTHING = (
    {"object": 1.5, "exist": 1.0, "count": 0.5, LESSON: 0.5}
    | dict.fromkeys(ABSOLUTE, 1.0)
    | dict.fromkeys(RELATIVE, 2.0)
)


@dataclass(frozen=True)
class Recipe:
    """Every number of a training run."""

    seed: int = 0
    tower_steps: int = 1000
    tower_batch: int = 24
    lookup_steps: int = 4000  # look-ups only, in pictures of few shapes at first
    few_shapes_steps: int = 3000
    lookup_batch: int = 4  # steps count more than samples until the look-ups are learned
    steps: int = 14000
    batch: int = 6
    questions: int = 6
    captions: float = 1.0
    decay: float = 0.28  # the share of the steps over which the rate falls to zero
    learning_rate: float = 1e-3
    warmup: int = 200
    clip: float = 1.0
    checkpoint_every: int = 500


# ---------------------------------------------------------------- pictures and questions


def training_scene(rng: np.random.Generator, most: int = 6) -> Scene:
    """A random scene of 2 to ``most`` shapes whose layout the test split does not hold."""
    while (scene := random_scene(rng, int(rng.integers(2, most + 1)))).split != "train":
        pass
    return scene


def draw_pixels(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A scene as the image processor would see it: drawn small, or drawn large and resized."""
    if rng.random() < 0.7:
        image = scene.draw(IMAGE_SIZE)
    else:
        large = int(rng.choice([128, 224, 256]))
        image = scene.draw(large).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(image)


def corpus(seed: int = 0, scenes: int = 400) -> Iterator[str]:
    """Text in which every word of the questions occurs: what the tokenizer learns from."""
    rng = np.random.default_rng(seed)
    for _ in range(scenes):
        scene = random_scene(rng)
        yield f"{SYSTEM} USER: \n{CAPTION} ASSISTANT: {caption(scene)}"
        for category in EVERYTHING:
            for question in list(ask(scene, category))[:20]:
                yield f"{question.text} ASSISTANT: {question.answer}"


def lesson(scene: Scene, weights: dict[str, float], rng: np.random.Generator) -> Question:
    """One question: a category by weight, then a form, then a question of that form."""
    categories, p = list(weights), np.array(list(weights.values()))
    while True:
        forms = defaultdict(list)
        for question in ask(scene, str(rng.choice(categories, p=p / p.sum()))):
            # "exist" would say no nearly always; its two answers count as two forms.
            form = question.answer if question.category == "exist" else question.form
            forms[form].append(question)
        if forms:
            choices = forms[list(forms)[rng.integers(len(forms))]]
            return choices[rng.integers(len(choices))]


class Lessons(Dataset):
    """Batch number ``step`` of the second stage: pixels and packed questions."""

    def __init__(self, recipe: Recipe, processor: LlavaProcessor):
        self.recipe, self.tokenizer = recipe, processor.tokenizer
        self.image_token = processor.image_token

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> dict[str, Tensor | list[str]]:
        rng = np.random.default_rng([self.recipe.seed, 2, step])
        early = step < self.recipe.lookup_steps
        weights = LOOKUPS if early else EVERYTHING
        most = 3 if step < self.recipe.few_shapes_steps else 6
        rows, pixels, forms = [], [], []
        for _ in range(self.recipe.lookup_batch if early else self.recipe.batch):
            scene = training_scene(rng, most)
            asked = [lesson(scene, weights, rng) for _ in range(self.recipe.questions)]
            if rng.random() < self.recipe.captions:
                asked[-1] = Question(CAPTION, caption(scene), (), "caption", "caption")
            system = SYSTEM + " " if rng.random() < 0.5 else ""
            rows.append(self.pack(system, asked))
            pixels.append(draw_pixels(scene, rng))
            forms += [f"{q.category}/{q.form}" for q in asked]
        length = max(len(row[0]) for row in rows)
        padded = [
            np.pad(np.array(r), ((0, 0), (0, length - len(r[0]))), constant_values=-1) for r in rows
        ]
        ids, segments, positions, learn = torch.from_numpy(np.stack(padded)).unbind(1)
        return {
            "input_ids": ids.clamp(min=0),
            "segments": segments,
            "positions": positions.clamp(min=0),
            "learn": learn > 0,
            "pixels": torch.from_numpy(np.stack(pixels)),
            "forms": forms,
        }

    def pack(self, system: str, asked: list[Question]) -> tuple[list[int], ...]:
        """Ids, segment (0: shared prefix), position id and whether the loss counts, per token."""
        prefix = self.encode(f"<s>{system}USER: " + self.image_token * GRID**2)
        ids, segments = list(prefix), [0] * len(prefix)
        positions, learn = list(range(len(prefix))), [0] * len(prefix)
        for number, question in enumerate(asked, start=1):
            said = self.encode(f"\n{question.text} ASSISTANT:")
            answer = self.encode(f" {question.answer}</s>")
            ids += said + answer
            segments += [number] * len(said + answer)
            positions += range(len(prefix), len(prefix) + len(said + answer))
            learn += [0] * len(said) + [1] * len(answer)
        return ids, segments, positions, learn

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def packed_mask(segments: Tensor) -> Tensor:
    """Who sees whom, additive: the past of one's own question, and the shared prefix."""
    size = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]
    allowed = ((key == 0) | (key == query)) & (key >= 0)
    allowed &= torch.ones(size, size, dtype=torch.bool).tril()
    allowed |= torch.eye(size, dtype=torch.bool)  # padding sees itself, or its softmax is empty
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]


# ---------------------------------------------------------------- stage 1: the tower


class Patches(Dataset):
    """Batch number ``step`` of the first stage: pixels, and what every patch shows."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe

    def __len__(self) -> int:
        return self.recipe.tower_steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.recipe.seed, 1, step])
        pixels, targets, sets = [], [], []
        for _ in range(self.recipe.tower_batch):
            scene = training_scene(rng)
            pixels.append(draw_pixels(scene, rng))
            targets.append(patch_labels(scene))
            held = np.zeros((len(COLORS), len(SHAPES)), dtype=np.float32)
            for shape in scene.shapes:
                held[list(COLORS).index(shape.color), SHAPES.index(shape.shape)] = 1
            sets.append(held.ravel())
        stacked = (np.stack(pixels), np.stack(targets), np.stack(sets))
        return dict(zip(("pixels", "patches", "set"), map(torch.from_numpy, stacked), strict=True))


def patch_labels(scene: Scene) -> np.ndarray:
    """(patch, 4): colour and kind of the shape at each patch (last class: none), row, column."""
    centre = (np.arange(GRID) + 0.5) / GRID
    labels = np.empty((GRID, GRID, 4), dtype=np.int64)
    labels[..., 0], labels[..., 1] = len(COLORS), len(SHAPES)
    labels[..., 2], labels[..., 3] = np.indices((GRID, GRID))
    for s in scene.shapes:
        near = np.hypot(centre[:, None] - s.y, centre[None] - s.x) < s.radius
        labels[near, 0], labels[near, 1] = list(COLORS).index(s.color), SHAPES.index(s.shape)
    return labels.reshape(-1, 4)


class TowerLessons(nn.Module):
    """Linear read-outs of the tower: colour, kind, row and column per patch, the set on CLS."""

    def __init__(self, width: int):
        super().__init__()
        self.sizes = (len(COLORS) + 1, len(SHAPES) + 1, GRID, GRID)
        self.patches = nn.Linear(width, sum(self.sizes))
        self.set = nn.Linear(width, len(COLORS) * len(SHAPES))
        self.right = 0.0  # share of shapes' patches whose kind was read rightly in the last batch

    def forward(self, hidden: Tensor, patches: Tensor, held: Tensor) -> Tensor:
        """The loss, given the tower's output (CLS first) and the labels."""
        parts = self.patches(hidden[:, 1:]).split(self.sizes, dim=-1)
        on_shape = patches[..., 0] < len(COLORS)
        loss = F.binary_cross_entropy_with_logits(self.set(hidden[:, 0]), held) * 5
        for i, (part, weight) in enumerate(zip(parts, (1.0, 2.0, 0.5, 0.5), strict=True)):
            # Patches of shapes and of ground count alike, though there are six of these for one
            # of those: or what the tower learns best is the ground.
            for side in (on_shape, ~on_shape):
                loss = loss + weight * F.cross_entropy(part[side], patches[..., i][side]) / 2
        self.right = (parts[1].argmax(-1) == patches[..., 1])[on_shape].float().mean().item()
        return loss


def train_tower(model: LlavaForConditionalGeneration, normalize, recipe: Recipe, folder: Path):
    """Teach the vision tower; returns at once when it was taught before."""
    done = folder / "tower.pt"
    tower = model.model.vision_tower
    if done.exists():
        tower.load_state_dict(torch.load(done))
        return
    read = TowerLessons(model.model.vision_tower.config.hidden_size)
    trained = [*tower.parameters(), *read.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.tower_steps, pct_start=0.05
    )
    bar = tqdm(batches(Patches(recipe)), total=recipe.tower_steps, desc="tower", mininterval=5)
    for batch in bar:
        hidden = tower(normalize(batch["pixels"])).last_hidden_state
        loss = read(hidden, batch["patches"], batch["set"])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        scheduler.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", kind=f"{read.right:.2f}", refresh=False)
    save_whole(tower.state_dict(), done)


# ---------------------------------------------------------------- stage 2: to answer


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, constant, then linear decay to zero."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    left = (recipe.steps - step) / (recipe.steps * recipe.decay)
    return recipe.learning_rate * warm * min(1.0, left)


def train_answers(
    model: LlavaForConditionalGeneration, processor, normalize, recipe: Recipe, folder: Path
):
    """Teach projector and language model; goes on from the last checkpoint."""
    model.model.vision_tower.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    checkpoint, start = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    bar = tqdm(
        batches(Lessons(recipe, processor), start),
        total=recipe.steps,
        initial=start,
        desc="answers",
        mininterval=5,
    )
    right: dict[str, list[float]] = defaultdict(list)
    for step, batch in enumerate(bar, start=start):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        loss = answer_loss(model, normalize, batch, right)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        if (step + 1) % recipe.checkpoint_every == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save_whole(state | {"step": step + 1}, checkpoint)
            scores = {form: round(float(np.mean(r)), 3) for form, r in sorted(right.items())}
            line = json.dumps({"step": step + 1, "loss": round(loss.item(), 4), "right": scores})
            with (folder / "log.jsonl").open("a") as log:
                log.write(line + "\n")
            right.clear()


def answer_loss(model, normalize, batch, right: dict[str, list[float]]) -> Tensor:
    """Cross entropy of the answers' tokens; notes which answers are right in every token."""
    ids, learn = batch["input_ids"], batch["learn"]
    with torch.no_grad():
        features = model.model.vision_tower(normalize(batch["pixels"])).last_hidden_state[:, 1:]
    image = model.model.multi_modal_projector(features)
    embedded = model.get_input_embeddings()(ids)
    vision = (ids == model.config.image_token_id)[..., None]
    embedded = embedded.masked_scatter(vision, image)
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=packed_mask(batch["segments"]),
        position_ids=batch["positions"],
        use_cache=False,
    ).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][learn[:, 1:]])
    targets = ids[:, 1:][learn[:, 1:]]
    with torch.no_grad():
        rows, columns = learn[:, 1:].nonzero(as_tuple=True)
        answer = rows * 1000 + batch["segments"][:, 1:][rows, columns]
        wrong = (logits.argmax(-1) != targets).float()
        _, index = answer.unique_consecutive(return_inverse=True)
        fail = torch.zeros(int(index[-1]) + 1).index_add(0, index, wrong)
        for form, failed in zip(batch["forms"], fail.tolist(), strict=True):
            right[form].append(float(failed == 0))
    return F.cross_entropy(logits, targets)


# ---------------------------------------------------------------- around them


def batches(dataset: Dataset, start: int = 0) -> DataLoader:
    """Whole batches in order, from a worker process, beginning at number ``start``."""
    order = range(start, len(dataset))  # type: ignore[arg-type]
    return DataLoader(dataset, batch_size=None, sampler=order, num_workers=1, prefetch_factor=8)


def save_whole(state, path: Path) -> None:
    """Save beside the place and rename, so that a file that exists is complete."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def train(recipe: Recipe, folder: Path) -> Path:
    """Train one model; returns the folder that ``from_pretrained`` opens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    torch.manual_seed(recipe.seed)
    processor = shapes_processor(corpus())
    model = LlavaForConditionalGeneration(shapes_config(processor.tokenizer))
    # Plain nn.Linear initialisation, as LLaVA's projector has it.
    for layer in (
        model.model.multi_modal_projector.linear_1,
        model.model.multi_modal_projector.linear_2,
    ):
        layer.reset_parameters()
    pixels = processor.image_processor
    mean, std = (torch.tensor(v)[:, None, None] for v in (pixels.image_mean, pixels.image_std))

    def normalize(images: Tensor) -> Tensor:
        return (rearrange(images, "b h w c -> b c h w").float() / 255 - mean) / std

    train_tower(model, normalize, recipe, folder)
    train_answers(model, processor, normalize, recipe, folder)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"


def main(out: Path = typer.Option(...), seed: int = 0, steps: int = Recipe.steps, threads: int = 1):
    """Train a shapes model, or go on with one that was cut off."""
    torch.set_num_threads(threads)
    typer.echo(train(Recipe(seed=seed, steps=steps), out))


if __name__ == "__main__":
    typer.run(main)
