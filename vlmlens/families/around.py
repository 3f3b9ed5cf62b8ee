"""The points around a norm and what reads it, which all blocks have alike.

Towers that pack the patches of all images into one row have ``patch`` for ``batch pos``; ``row``
says so, as einops writes what transformers has there: ``"patch"`` or ``"1 patch"``.
"""

from typing import Literal

from vlmlens.families.family import Tap


def norm_before(what: Literal["attention", "MLP"], path: str, row: str = "") -> dict[str, Tap]:
    """The stream that attention or the MLP reads, what its norm divides by, and what it makes."""
    entering, norm = ("hook_attn_in", "ln1") if what == "attention" else ("hook_mlp_in", "ln2")
    return {
        entering: Tap(path, "in", *_packed(row, "d_model")),
        f"{norm}.hook_scale": Tap(path, "scale", *_packed(row, "scale")),
        f"{norm}.hook_normalized": Tap(path, "out", *_packed(row, "d_model")),
    }


def readers(norm: str, q: str, k: str, v: str, row: str = "") -> dict[str, Tap]:
    """The stream that each head reads, at the projections of queries, keys and values.

    Where one module projects all three, its path is given three times.
    """
    paths = (("q", q, "head"), ("k", k, "kv_head"), ("v", v, "kv_head"))
    return {
        f"hook_{side}_input": Tap(
            path,
            "reads",
            *_packed(row, f"{heads} d_model"),
            part=(at, 3) if q == k == v else None,
            norm=norm,
        )
        for at, (side, path, heads) in enumerate(paths)
    }


def _packed(row: str, axes: str) -> tuple[str | None, str | None]:
    """Layout and axes of a tap."""
    if not row:
        return None, None
    own = f"patch {axes}"
    return (None, own) if row == "patch" else (f"{row} {axes}", own)
