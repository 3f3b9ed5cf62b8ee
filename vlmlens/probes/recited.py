"""Whether greedy decoding would say the right answer, word for word: one pass, no generation."""

import torch
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.model import Run
from vlmlens.model.decoding.likelihood import foretold
from vlmlens.probes.labels import array

NEEDS = ()


@checked
def answer_recited(run: Run) -> xr.DataArray:
    """1 where every token of the answer that the inputs hold is the likeliest at its place.

    That is when greedy decoding says this very answer and ends there, so one pass tells what a
    generation would; an answer in other words counts as wrong, which ``accuracy`` may forgive.

    Args:
        run: over inputs that hold answers: ``model.inputs(..., answers=...)``.

    Returns:
        (sample,), 0 or 1; the template's end of turn has to be the likeliest too.

    Raises:
        EmptySelectionError: inputs without an answer.

    Examples:
        >>> inputs = model.inputs(samples, answers=[each.answer for each in samples])
        >>> vl.probes.answer_recited(model.run(inputs)).values.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    ids = run.inputs.tensors["input_ids"]
    right = []
    for index, (told, said) in enumerate(foretold(run.inputs.layouts, ids.device)):
        right.append(float((run.logits[index, told].argmax(-1) == ids[index, said]).all()))
    return array(
        torch.tensor(right),
        ("sample",),
        run.inputs,
        "correct",
        "answer is what greedy decoding says",
        "0 or 1",
        "recitation",
    )
