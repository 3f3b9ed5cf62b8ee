"""Which vision tokens are alike: cosine similarity to a chosen token, on the image's grid."""

import torch
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.errors import EmptySelectionError
from vlmlens.model import Run
from vlmlens.probes.grids import looking_at, on_grid, patches, side_by_side
from vlmlens.probes.labels import array
from vlmlens.select import Positions, chosen
from vlmlens.tensors import onto

NEEDS = (Save("hook_embed"),)


@checked
def similarity_map(
    run: Run,
    to: tuple[int, int] | str = (0, 0),
    *,
    point: str = "hook_embed",
    image: int = 0,
    tile: int = 0,
) -> xr.DataArray:
    """Cosine similarity of every vision token to one chosen token.

        s[v] = x[v] . x[c] / (|x[v]| |x[c]|)

    Args:
        run: a run that saved ``point`` whole; ``NEEDS`` holds ``hook_embed``.
        to: the chosen token c: (row, column) of a patch, or ``"last"`` or a role, of whose
            positions the mean vector is taken.
        point: where, for example ``"blocks.3.hook_resid_pre"``.
        image: which of the sample's images.
        tile: which of its tiles.

    Returns:
        (sample, row, column), -1 to 1: 1 points the same way, 0 is at right angles. NaN for a
        vector of length 0, and beyond the grid of a smaller image.

    Raises:
        EmptySelectionError: no such image, or a patch beyond its grid.
        UnknownPointError: the run did not save the point.
        InputError: it saved some rows of it alone, or something else in its place.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, figure 1.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.similarity.NEEDS)
        >>> found = vl.probes.similarity_map(run, to=(3, 4))
        >>> dict(found.sizes), round(found.sel(row=3, column=4).item(), 4)
        ({'sample': 1, 'row': 8, 'column': 8}, 1.0)
    """
    states = run.saved[Save(point)].float()
    maps = []
    for index, layout in enumerate(run.inputs.layouts):
        here = onto(torch.from_numpy(patches(layout, image, tile)), states.device)
        vectors = states[index, here]
        center = states[index, _positions(layout, to, image, tile)].mean(0)
        lengths = vectors.norm(dim=-1) * center.norm()
        maps.append(on_grid(layout, (vectors @ center / lengths).cpu().numpy(), image, tile))
    return array(
        torch.from_numpy(side_by_side(maps)),
        ("sample", "row", "column"),
        run.inputs,
        "similarity",
        "cosine similarity",
        "cosine",
        "arXiv:2503.17349",
        **looking_at(run.inputs.layouts, image, tile),
    )


def _positions(layout, to: tuple[int, int] | str, image: int, tile: int):
    if isinstance(to, str):
        wanted: Positions = to
        return torch.from_numpy(chosen(layout, wanted))
    rows, columns = layout.grid(image, tile)
    row, column = to
    if not (0 <= row < rows and 0 <= column < columns):
        raise EmptySelectionError(f"no patch {to}: the grid has {rows} rows, {columns} columns")
    return [int(patches(layout, image, tile)[row * columns + column])]
