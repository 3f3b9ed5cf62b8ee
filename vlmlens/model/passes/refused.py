"""What transformers' own code stumbles over, said as an error of ours."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from vlmlens.errors import InputError, VLMLensError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention
from vlmlens.model.wiring.wired import Wired
from vlmlens.tensors import out_of_memory

#: Whose code a model is made of, torch's aside, which all are made of.
MODELS = ("transformers", "transformers_modules", "vlmlens.zoo.variants")
#: How many pictures' sizes are named.
NAMED = 3


@contextmanager
def told(vlm: Wired, inputs: Inputs, edits: Sequence[Intervention] = ()) -> Iterator[None]:
    """Say as an error of ours what the model's own code raises inside.

    What hooks and edits raise passes as it is, and so does memory that ran out, by which batches
    are halved.

    Raises:
        InputError: the model cannot run these inputs: a picture of one pixel, for example.
    """
    try:
        yield
    except Exception as error:
        passes = VLMLensError | NotImplementedError  # the latter on a device without values
        if isinstance(error, passes) or out_of_memory(error) or not _by_the_model(error):
            raise
        sizes = chain.from_iterable(layout.sizes for layout in inputs.layouts)
        shown = [f"{size[0]} x {size[1]}" for size in dict.fromkeys(sizes) if size is not None]
        pictures = ", ".join(shown[:NAMED]) + ", ..." * (len(shown) > NAMED)
        edited = [str(edit) for edit in edits]
        edited += [f"a hook at {name}" for name, point in vlm.hook_dict.items() if point.hooked]
        raise InputError(
            f"{type(vlm.hf_model).__name__} cannot run these {len(inputs)} sample(s)"
            + f", with pictures of {pictures} pixels" * bool(shown)
            + f", under {', '.join(edited[:NAMED])}" * bool(edited)
            + f": {type(error).__name__}: {error}"
        ) from error


def _by_the_model(error: Exception) -> bool:
    """Whether the model's own code raised it, or called what did: torch, and nobody else."""
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)]):
        whose = frame.f_globals.get("__name__", "")
        if whose.partition(".")[0] != "torch":
            return whose.startswith(MODELS)
    return False
