"""What experiments cost, in plain forward passes of the same prompt on the same card."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vlmlens import probes
from vlmlens.experiments import permutation_test, sweep
from vlmlens.gpu.card import Card
from vlmlens.gpu.findings import Cost
from vlmlens.gpu.subject import Subject
from vlmlens.inputs import Inputs
from vlmlens.probes import cmb, rope
from vlmlens.select import Where

STREAM = "blocks.*.hook_resid_post"
LAST = Where(positions="last")
PERMUTATIONS, WORDS = 8, 16
DELTAS = (-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Job:
    """What is timed.

    Attributes:
        name: of it.
        run: the call.
        naive: passes that a loop of plain passes takes for the same, or None.
    """

    name: str
    run: Callable[[], object]
    naive: int | None = None


def costs(card: Card, subject: Subject, rounds: int) -> Iterator[Cost]:
    """Every job, timed in turn with a plain pass; the first round warms up and does not count."""
    inputs = subject.vlm.inputs([subject.question()])
    forward = plain(subject, inputs)
    for job in jobs(subject, inputs):
        ratios, times = [], []
        for number in range(rounds + 1):
            order = (forward, job.run) if number % 2 else (job.run, forward)
            took = {run: card.seconds(run) for run in order}
            if number:
                ratios.append(took[job.run] / took[forward])
                times.append(took[job.run])
        low, middle, high = quantiles(ratios, n=4, method="inclusive")
        peak, busy = card.peak(job.run), card.busy(job.run)
        yield Cost(job.name, middle, low, high, median(times), job.naive, peak, busy)


def plain(subject: Subject, inputs: Inputs) -> Callable[[], object]:
    """A forward pass of transformers alone, on the weights that nobody wraps."""
    tensors = dict(inputs.tensors)

    def run() -> object:
        with torch.no_grad():
            return subject.plain(**tensors, use_cache=False)

    return run


def jobs(subject: Subject, inputs: Inputs) -> list[Job]:
    """What is timed, from a bare pass to a sweep."""
    vlm, size = subject.vlm, subject.size
    pictures, questions = subject.two_pictures(), subject.two_questions()
    few = Where(layers=(size.layers // 4, 3 * size.layers // 4))

    def swept(pair: Any, point: str, **options: Any) -> Callable[[], object]:
        return lambda: sweep(vlm, pair[0], pair[1], point, progress=False, **options)

    def permuted() -> object:
        return permutation_test(
            vlm,
            [subject.question()],
            permutations=PERMUTATIONS,
            max_new_tokens=1,
            progress=False,
        )

    return [
        Job("plain transformers", plain(subject, inputs), 1),
        Job("forward, nobody watching", lambda: vlm.run(inputs), 1),
        Job("raw hooks save the residual stream", raw_hooks(subject, inputs), 1),
        Job("save the residual stream", lambda: vlm.run(inputs, save=STREAM), 1),
        Job("eager attention returns all its patterns", eager(subject, inputs), 1),
        Job(
            "CMB of one prompt",
            lambda: probes.cross_modality_balance(vlm.run(inputs, save=cmb.NEEDS)),
        ),
        Job(
            "RoPE probe, 8 deltas",
            lambda: probes.rope_sensitivity(vlm.run(inputs, save=rope.NEEDS), delta=DELTAS),
        ),
        Job(f"transformers generates {WORDS} tokens", generates(subject, inputs)),
        Job(f"generate {WORDS} tokens", lambda: vlm.generate(inputs, max_new_tokens=WORDS)),
        Job(f"PSI of one item, {PERMUTATIONS} permutations", permuted, 2 * (1 + PERMUTATIONS)),
        Job(
            "sweep, layers x last token",
            swept(questions, "blocks.*.hook_resid_pre", over="pos", where=LAST),
            2 + size.layers,
        ),
        Job(
            "sweep, layers x heads, last token",
            swept(pictures, "blocks.*.attn.hook_z", over="head", where=LAST),
            2 + size.layers * size.heads,
        ),
        Job(
            "sweep, two layers x image rows",
            swept(pictures, "blocks.*.hook_resid_pre", over="row", where=few),
            2 + 2 * size.grid,
        ),
    ]


def raw_hooks(subject: Subject, inputs: Inputs) -> Callable[[], object]:
    """Hooks of torch's own on every block."""
    forward = plain(subject, inputs)
    blocks = subject.plain.model.language_model.layers

    def run() -> dict[int, Float[Tensor, "batch pos d_model"]]:
        kept: dict[int, Float[Tensor, "batch pos d_model"]] = {}
        with ExitStack() as stack:
            for at, block in enumerate(blocks):

                def keep(_: Any, __: Any, output: Any, at: int = at) -> None:
                    kept[at] = output[0] if isinstance(output, tuple) else output

                stack.callback(block.register_forward_hook(keep).remove)
            forward()
        return kept

    return run


def eager(subject: Subject, inputs: Inputs) -> Callable[[], object]:
    """What CMB takes without this library: all attention weights of eager attention."""
    model, tensors = subject.plain, dict(inputs.tensors)

    def run() -> object:
        model.set_attn_implementation("eager")
        try:
            with torch.no_grad():
                return model(**tensors, use_cache=False, output_attentions=True)
        finally:
            model.set_attn_implementation("sdpa")

    return run


def generates(subject: Subject, inputs: Inputs) -> Callable[[], object]:
    """A greedy answer by transformers alone, as long as ours may be."""
    tensors = dict(inputs.tensors)

    def run() -> object:
        with torch.no_grad():
            return subject.plain.generate(
                **tensors, max_new_tokens=WORDS, do_sample=False, pad_token_id=0
            )

    return run
