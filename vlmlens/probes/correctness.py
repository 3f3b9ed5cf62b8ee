"""Accuracy: whether the answer is the right one, by what is said or by likelihood."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.graders import Rule, grade
from vlmlens.model import Generation, Run
from vlmlens.model.decoding.likelihood import answer_log_probs
from vlmlens.probes.labels import array, samples

NEEDS = ()


@checked
def accuracy(
    run: Generation,
    gold: Sequence[str] | None = None,
    *,
    rule: Rule | Callable[[str, str, Sequence[str]], bool] = grade,
) -> xr.DataArray:
    """1 where the generated answer is right, 0 where it is wrong; see ``grade``.

    Args:
        run: a generation from samples.
        gold: the right answers; by default the samples' own.
        rule: a set's own, of ``graders.GRADERS``; or a function of what is said, the right answer
            and the choices, such as ``graders.same``.

    Returns:
        (sample,), 0 or 1; between the two where a rule gives parts of a point.

    Raises:
        InputError: a sample without an answer, or a generation without a tokenizer.

    Examples:
        >>> run = model.generate(model.inputs(samples), max_new_tokens=4)
        >>> [str(word) for word in vl.probes.answers(run).values]
        ['green', 'purple', 'triangle', 'triangle']
        >>> vl.probes.accuracy(run).mean().item()
        1.0
    """
    known = [s.answer for s in run.inputs.samples] if gold is None else list(gold)
    right_answers = [answer for answer in known if answer is not None]
    if not run.texts or len(right_answers) != len(run.texts):
        lacking = [
            sample.id or str(number)
            for number, sample in enumerate(run.inputs.samples)
            if gold is None and sample.answer is None
        ]
        raise InputError(
            "accuracy needs generated texts and a right answer for every sample; there are "
            f"{len(run.texts)} texts and {len(right_answers)} answers"
            + (f" (none for {', '.join(lacking)})" if lacking else "")
        )
    rows = zip(run.texts, right_answers, run.inputs.samples, strict=True)
    right, name = [], rule.label if isinstance(rule, Rule) else rule.__name__
    for said, answer, sample in rows:
        if isinstance(rule, Rule):
            right.append(rule(said, replace(sample, answer=answer)).score)
        else:
            right.append(float(rule(said, answer, sample.choices)))
    told = f"answer: {name}" if name == "same" else "answer is right"
    return array(torch.tensor(right), ("sample",), run.inputs, "correct", told, "0 or 1", name)


@checked
def answers(run: Generation) -> xr.DataArray:
    """What was generated, as text: (sample,).

    Examples:
        >>> run = model.generate(model.inputs(samples), max_new_tokens=4)
        >>> [str(word) for word in vl.probes.answers(run).values]
        ['green', 'purple', 'triangle', 'triangle']
    """
    return xr.DataArray(
        list(run.texts), dims=("sample",), coords=samples(run.inputs), name="answer"
    )


@checked
def answer_log_prob(run: Run | Generation, answer: int = 0) -> xr.DataArray:
    """Log probability of the answer that the inputs hold: ``model.inputs(..., answers=...)``.

    The sum of log p(token | everything before it) over the answer's positions,
    the template's end of turn among them.

    Args:
        run: a run of such inputs; or a generation that was given some, ``answered=``.
        answer: which of those that the generation was given.

    Returns:
        (sample,), in nats; 0 is certainty.

    Raises:
        EmptySelectionError: inputs without an answer.
        InputError: a generation that was not given such an answer.

    Examples:
        >>> inputs = model.inputs(samples, answers=[each.answer for each in samples])
        >>> found = vl.probes.answer_log_prob(model.run(inputs))
        >>> found.dims, bool((found < 0).all())
        (('sample',), True)
    """
    if isinstance(run, Generation):
        given = [] if run.scores.log_probs is None else list(run.scores.log_probs)
        if not 0 <= answer < len(given):
            raise InputError(
                f"no answer {answer}: this generation was given {len(given)}, counted from 0; "
                "generate(..., answered=[inputs with answers])"
            )
        found = given[answer]
    else:
        found = answer_log_probs(run.logits, run.inputs.tensors["input_ids"], run.inputs.layouts)
    return array(
        found,
        ("sample",),
        run.inputs,
        "log_prob",
        "log probability of the answer",
        "nats",
        "likelihood",
    )
