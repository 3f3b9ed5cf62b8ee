"""What a processor hides of a picture is said."""

import logging
from collections.abc import Iterable

import numpy as np

from vlmlens.layout import TokenLayout

#: Below this share of a picture's pixels it is said that the rest is hidden. Patches that do not
#: divide a picture leave a strip of it over: 384 pixels hold 27 patches of 14, and 97 % of all.
MOSTLY = 0.95


def warn_of_crops(layouts: Iterable[TokenLayout], model: str) -> bool:
    """A line in the log about the picture that the model is shown the least of, if that is little.

    Returns:
        Whether there was anything to say.
    """
    least, of = 1.0, (0, 0)
    for layout in layouts:
        for image, size in enumerate(layout.sizes):
            here = layout.vision(image) if size is not None else np.array([], int)
            if size is None or not len(here) or np.isnan(layout.box[here]).any():
                continue
            if (share := layout.seen(image)) < least:
                least, of = share, size
    if least >= MOSTLY:
        return False
    logging.getLogger("vlmlens").warning(
        "%s is shown %.0f %% of a picture of %d x %d pixels: its processor cuts off the rest "
        "(inputs.layouts[sample].seen(image) says how much is left of each; this is said once)",
        model,
        100 * least,
        *of,
    )
    return True
