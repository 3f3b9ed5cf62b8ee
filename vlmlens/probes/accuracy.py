"""Accuracy: whether the answer is the right one, by what is said or by likelihood."""

import re
from collections.abc import Sequence

import torch
import xarray as xr

from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.model import Generation, Run
from vlmlens.probes.labels import array, samples

NEEDS = ()


def plain(answer: str) -> str:
    """An answer without case, punctuation, articles and spare spaces."""
    words = re.sub(r"[^\w\s]", " ", answer.lower()).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def grade(said: str, gold: str, choices: Sequence[str] = ()) -> bool:
    """Whether an answer is right, by a fixed rule and no judge.

    Right is what equals the gold answer once both are ``plain``; and a longer answer that holds
    the gold answer's words in a row and no other of the choices ("It is on the left." for
    "left").
    """
    said, gold = plain(said), plain(gold)
    if said == gold:
        return True
    rest = f" {said} "
    if not gold or f" {gold} " not in rest:
        return False
    rest = rest.replace(f" {gold} ", " ")
    others = (plain(c) for c in choices)
    return not any(f" {c} " in rest for c in others if c and c != gold)


def accuracy(run: Generation, gold: Sequence[str] | None = None) -> xr.DataArray:
    """1 where the generated answer is right, 0 where it is wrong; see ``grade``.

    Args:
        run: a generation from samples.
        gold: the right answers; by default the samples' own.

    Returns:
        (sample,), 0 or 1.

    Raises:
        InputError: a sample without an answer, or a generation without a tokenizer.
    """
    known = [s.answer for s in run.inputs.samples] if gold is None else list(gold)
    right_answers = [answer for answer in known if answer is not None]
    if not run.texts or len(right_answers) != len(run.texts):
        raise InputError("accuracy needs generated texts and a right answer for every sample")
    choices = [s.choices for s in run.inputs.samples]
    rows = zip(run.texts, right_answers, choices, strict=True)
    right = [float(grade(said, answer, among)) for said, answer, among in rows]
    return array(
        torch.tensor(right),
        ("sample",),
        run.inputs,
        "correct",
        "answer is right",
        "0 or 1",
        "grade",
    )


def answers(run: Generation) -> xr.DataArray:
    """What was generated, as text: (sample,)."""
    return xr.DataArray(
        list(run.texts), dims=("sample",), coords=samples(run.inputs), name="answer"
    )


def answer_log_prob(run: Run) -> xr.DataArray:
    """Log probability of the answer that the inputs hold: ``model.inputs(..., answers=...)``.

    The sum of log p(token | everything before it) over the positions in the role ``assistant``,
    the template's end of turn among them.

    Returns:
        (sample,), in nats; 0 is certainty.

    Raises:
        EmptySelectionError: inputs without an answer.
    """
    ids = run.inputs.tensors["input_ids"]
    log_p = run.logits.float().log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    sums = []
    for index, layout in enumerate(run.inputs.layouts):
        said = torch.from_numpy(layout.mask("assistant")).to(ids.device)
        if not said.any():
            raise EmptySelectionError(f"sample {index} holds no answer: {layout}")
        sums.append(log_p[index, said[1:]].sum())
    return array(
        torch.stack(sums),
        ("sample",),
        run.inputs,
        "log_prob",
        "log probability of the answer",
        "nats",
        "likelihood",
    )
