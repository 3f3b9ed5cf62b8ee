"""The loop that every stage shares: seeded by step, resumable after a kill, with its metrics."""

import csv
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from vlmlens.zoo.training.recipe.optimizers import optimizers
from vlmlens.zoo.training.recipe.plan import Schedule

#: What a batch was right and wrong in, by the form of the question.
Right = dict[str, list[float]]
Loss = Callable[[dict[str, Any], Right], Float[Tensor, ""]]


def fit(
    name: str, module: nn.Module, loss: Loss, lessons: Dataset, schedule: Schedule, folder: Path
) -> None:
    """Train what requires a gradient; returns at once where that was done before.

    The state is saved every ``checkpoint_every`` steps to ``NAME.part.pt``, at the end to
    ``NAME.pt`` (weights only), the metrics to ``NAME.csv``. Batches are numbered and each is
    drawn by its number, so a run that was killed ends with the weights of one that was not.

    Args:
        name: of the stage.
        module: holds every weight of the stage; frozen ones are neither trained nor saved.
        loss: the loss of a batch; notes what was answered rightly.
        lessons: the batches, by number.
        schedule: how long, and how fast.
        folder: where the files are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done, part = folder / f"{name}.pt", folder / f"{name}.part.pt"
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    if done.exists():
        _restore(trained, torch.load(done))
        return
    steppers = optimizers(trained, schedule)
    start, spent = 0, 0.0
    if part.exists():
        state = torch.load(part)
        _restore(trained, state["weights"])
        for stepper, kept in zip(steppers, state["optimizers"], strict=True):
            stepper.load_state_dict(kept)
        start, spent = state["step"], state["seconds"]
    right: Right = defaultdict(list)
    losses: list[float] = []
    began = time.process_time()
    loader = batches(lessons, start, schedule.steps)
    bar = tqdm(loader, total=schedule.steps, initial=start, desc=name, mininterval=5)
    for step, batch in enumerate(bar, start=start):
        for group in (group for stepper in steppers for group in stepper.param_groups):
            group["lr"] = schedule.rate(step)
        value = loss(batch, right)
        module.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(trained.values(), schedule.clip)
        for stepper in steppers:
            stepper.step()
        losses.append(value.item())
        if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
            seconds = spent + time.process_time() - began
            state = {"weights": _copied(trained), "step": step + 1, "seconds": seconds}
            save_whole(state | {"optimizers": [o.state_dict() for o in steppers]}, part)
            scores = {form: sum(r) / len(r) for form, r in sorted(right.items())}
            mean = sum(losses) / len(losses)
            _note(folder / f"{name}.csv", step + 1, {"seconds": seconds, "loss": mean} | scores)
            bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
            right.clear()
            losses.clear()
    save_whole(_copied(trained), done)
    part.unlink(missing_ok=True)


def batches(lessons: Dataset, start: int, steps: int) -> Iterable[dict[str, Any]]:
    """Whole batches in order, from a worker process, beginning at number ``start``."""
    order = range(start, steps)
    return DataLoader(lessons, batch_size=None, sampler=order, num_workers=1, prefetch_factor=8)


def save_whole(state: Any, path: Path) -> None:
    """Save beside the place and rename, so that a file that exists is complete."""
    part = path.with_suffix(".tmp")
    torch.save(state, part)
    part.replace(path)


def _copied(trained: dict[str, nn.Parameter]) -> dict[str, Float[Tensor, "..."]]:
    return {name: tensor.detach().clone() for name, tensor in trained.items()}


def _restore(trained: dict[str, nn.Parameter], weights: dict[str, Float[Tensor, "..."]]) -> None:
    if trained.keys() != weights.keys():
        raise ValueError(f"saved were {sorted(weights)}, to be trained are {sorted(trained)}")
    with torch.no_grad():
        for name, tensor in weights.items():
            trained[name].copy_(tensor)


def _note(path: Path, step: int, values: dict[str, float]) -> None:
    """A row for each value: step, what, value."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        rows = csv.writer(file)
        if new:
            rows.writerow(("step", "what", "value"))
        rows.writerows((step, what, f"{value:.5g}") for what, value in values.items())
