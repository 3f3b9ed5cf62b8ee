"""Every error vlmlens raises on purpose.

    VLMLensError
    ├── UnknownNameError          a name that is not there, with the nearest ones that are
    │   ├── UnknownPointError         an activation point
    │   ├── UnknownRoleError          a role of a position
    │   ├── UnknownKeywordError       a keyword that a function does not take
    │   ├── UnknownPartError          a part, a weight or a setting of a model
    │   └── UnknownModelError         a model: no bundled name, no folder, no hub id
    ├── UnsupportedModelError     a model that is no vision-language model, or of unknown parts
    ├── UnreachedPointError       a point that this pass never reaches
    ├── EmptySelectionError       a selection that holds nothing, here
    ├── InputError                images, prompts or tensors that do not fit together
    │   └── ImageError                an image file that cannot be read
    ├── NonFiniteError            activations that are NaN or infinite, where they are measured
    ├── DataError                 a data set, or results on disk, that are missing or malformed
    │   ├── UnknownColumnError        a column that a table does not have
    │   ├── UnknownSplitError         a split that a published set does not have
    │   └── UnknownPromptError        a prompt form that a published set does not name
    ├── ClosedModelError          a ``HookedVLM`` used after it was closed
    ├── MissingToolError          an optional library or program that is not installed
    ├── BeyondTrainingWarning     a prompt beyond what the model was trained on; warned of
    └── FetchError                a download that is not what is pinned
        ├── UnreachableError          one that cannot be reached from here
        └── UnfetchedModelError       a model that is to be fetched before it is opened

Each message says what was asked, what there is, and what to do next.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class VLMLensError(Exception):
    """The root of every error raised on purpose.

    Examples:
        >>> try:
        ...     model.run(model.inputs(sample), save="blocks.0.hook_mlp")
        ... except vl.VLMLensError as error:
        ...     print(error)
        no activation point 'blocks.0.hook_mlp'; did you mean ...
    """


class UnknownNameError(VLMLensError):
    """A name that is not there."""

    kind = "name"

    def __init__(self, name: str, known: Iterable[str], advice: str = ""):
        self.name, self.known = name, sorted(set(known))
        near = get_close_matches(str(name), self.known, n=3, cutoff=0.5)
        listed = ", ".join(near) if near else ", ".join(self.known[:12])
        there = f"did you mean {listed}?" if near else f"there is: {listed}"
        super().__init__(f"no {self.kind} {name!r}; {there}" + (f" {advice}" if advice else ""))


class UnknownPointError(UnknownNameError):
    """An activation point that this model does not have."""

    kind = "activation point"


class UnknownRoleError(UnknownNameError):
    """A role that no position can play."""

    kind = "role"


class UnknownKeywordError(UnknownNameError, TypeError):
    """A keyword that a function does not take, and would not read."""

    kind = "keyword"

    def __init__(self, name: str, known: Iterable[str], where: str, advice: str = ""):
        super().__init__(name, known, f"in {where}" + (f": {advice}" if advice else ""))


class UnknownPartError(UnknownNameError, AttributeError):
    """A part, a weight or a setting that a model does not have, by TransformerLens's names."""

    kind = "part"


class UnknownModelError(UnknownNameError):
    """A model that is neither bundled, nor a folder, nor within reach on the hub."""

    kind = "model"


class UnsupportedModelError(VLMLensError):
    """A model that cannot be wired: not a vision-language model, or its parts are unknown."""


class UnreachedPointError(VLMLensError):
    """A point that exists, but that this pass never reaches."""


class EmptySelectionError(VLMLensError):
    """A selection of layers, heads or positions that holds nothing, here."""


class InputError(VLMLensError):
    """Images, prompts or tensors that do not fit together."""


class ImageError(InputError):
    """An image file that cannot be read."""


class NonFiniteError(VLMLensError):
    """Activations that are NaN or infinite where they are measured; it names the first point."""


class DataError(VLMLensError):
    """A data set that is empty, missing or malformed."""


class UnknownColumnError(UnknownNameError, DataError):
    """A column that a table does not have."""

    kind = "column"


class UnknownSplitError(UnknownNameError, DataError):
    """A split that a published set does not have."""

    kind = "split"


class UnknownPromptError(UnknownNameError, DataError):
    """A prompt form that a published set does not name."""

    kind = "prompt form"


class ClosedModelError(VLMLensError):
    """A ``HookedVLM`` that was used after it was closed."""


class MissingToolError(VLMLensError):
    """An optional library or program that is needed here and is not installed."""


class BeyondTrainingWarning(VLMLensError, UserWarning):
    """A prompt that is longer than what the model was trained on; warned of, and run.

    ``warnings.simplefilter("error", BeyondTrainingWarning)`` makes an error of it.
    """


class FetchError(VLMLensError):
    """A download that is not the one that is pinned."""


class UnreachableError(FetchError):
    """A download that cannot be reached from here."""


class UnfetchedModelError(FetchError):
    """A model that has to be fetched before it can be opened."""
