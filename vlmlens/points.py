"""Every activation point: its name, its axes, what it is.

The language model's names are TransformerLens's. The vision tower has the same names under
``vision.``; there ``image`` stands in the place of ``batch``, since a tower sees pictures one by
one, whichever sample they belong to.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from vlmlens.checks import shown
from vlmlens.errors import InputError, UnknownPointError


@dataclass(frozen=True)
class Point:
    """A place inside a model where activations can be read and edited.

    Attributes:
        name: where it is, for example ``"blocks.3.attn.hook_pattern"``.
        axes: the names of its dimensions, separated by spaces.
        about: what one finds there, in a few words.

    Examples:
        >>> point = model.hook_dict["blocks.3.attn.hook_pattern"].point
        >>> point.axes, point.layer, point.about
        ('batch head query key', 3, 'attention weights, after the softmax')
    """

    name: str
    axes: str
    about: str

    @property
    def layer(self) -> int | None:
        """The block it belongs to, or None."""
        found = re.search(r"blocks\.(\d+)\.", self.name)
        return int(found[1]) if found else None


#: What a block can offer, in the order in which one pass reaches it.
BLOCK_POINTS = (
    Point("hook_resid_pre", "batch pos d_model", "the residual stream entering the block"),
    Point("hook_attn_in", "batch pos d_model", "the stream that attention reads, before its norm"),
    Point("ln1.hook_scale", "batch pos scale", "what the norm before attention divides by"),
    Point("ln1.hook_normalized", "batch pos d_model", "what the norm before attention makes"),
    Point("hook_q_input", "batch pos head d_model", "the stream that each head's query reads"),
    Point("hook_k_input", "batch pos kv_head d_model", "the stream that each head's key reads"),
    Point("hook_v_input", "batch pos kv_head d_model", "the stream that each head's value reads"),
    Point("attn.hook_q", "batch pos head d_head", "queries, before RoPE"),
    Point("attn.hook_k", "batch pos kv_head d_head", "keys, before RoPE"),
    Point("attn.hook_cos", "batch pos trig", "cosines of the angles this layer rotates by"),
    Point("attn.hook_sin", "batch pos trig", "sines of the angles this layer rotates by"),
    Point("attn.hook_rot_q", "batch pos head d_head", "queries, after RoPE"),
    Point("attn.hook_rot_k", "batch pos kv_head d_head", "keys, after RoPE; all that are cached"),
    Point("attn.hook_v", "batch pos kv_head d_head", "values; all that are cached"),
    Point("attn.hook_mask", "batch query key", "added to scores: minus infinity hides a key"),
    Point("attn.hook_attn_scores", "batch head query key", "scores, scaled and masked"),
    Point("attn.hook_pattern", "batch head query key", "attention weights, after the softmax"),
    Point("attn.hook_z", "batch pos head d_head", "values mixed by the pattern, per head"),
    Point("attn.hook_result", "batch pos head d_model", "what each head writes"),
    Point("hook_attn_out", "batch pos d_model", "what attention adds to the stream"),
    Point("hook_resid_mid", "batch pos d_model", "the residual stream between the two halves"),
    Point("hook_mlp_in", "batch pos d_model", "the stream that the MLP reads, before its norm"),
    Point("ln2.hook_scale", "batch pos scale", "what the norm before the MLP divides by"),
    Point("ln2.hook_normalized", "batch pos d_model", "what the norm before the MLP makes"),
    Point("mlp.hook_in", "batch pos d_model", "what the MLP reads: the stream, normed"),
    Point("mlp.hook_pre", "batch pos d_mlp", "the MLP before its nonlinearity"),
    Point("mlp.hook_pre_linear", "batch pos d_mlp", "what a gated MLP multiplies with its gate"),
    Point("mlp.hook_post", "batch pos d_mlp", "the MLP's hidden units, as they are read out"),
    Point("hook_mlp_out", "batch pos d_model", "what the MLP adds to the stream"),
    Point("hook_resid_post", "batch pos d_model", "the residual stream leaving the block"),
)
#: Their names: an edit that reads one of these reads that of its own block.
OF_BLOCKS = frozenset(point.name for point in BLOCK_POINTS)

#: What exists once in a model. Vision points come before, the rest around the blocks.
SINGLE_POINTS = (
    Point("vision.hook_embed", "image pos d_model", "what enters the tower's first block"),
    Point("projector.hook_in", "image patch d_model", "the tower's output, before the projector"),
    Point("projector.hook_out", "image patch d_model", "the projected vision tokens"),
    Point("hook_embed", "batch pos d_model", "what enters block 0: text and image, merged"),
    Point("ln_final.hook_normalized", "batch pos d_model", "the stream after the final norm"),
    Point("hook_logits", "batch pos vocab", "logits"),
)

#: What a dictionary that is spliced in offers, under the name of the point that it replaces, by
#: SAELens's names; ``...`` stands for that point's axes but the last.
DICTIONARY_POINTS = (
    Point("hook_sae_input", "... d_in", "what the dictionary reads"),
    Point("hook_sae_acts_post", "... d_sae", "how active each feature is"),
    Point("hook_sae_recons", "... d_in", "what the features make"),
    Point("hook_sae_error", "... d_in", "what they do not make of the activation"),
    Point("hook_sae_output", "... d_in", "what goes on in the activation's place"),
)
#: What a name may also be called: features that only ``encode`` shows have no ``acts_pre``.
_ALSO = {"hook_sae_acts": "hook_sae_acts_post"}


def spelled(name: str) -> str:
    """A point's own name, where it has a shorter one as well."""
    head, dot, last = name.rpartition(".")
    return f"{head}{dot}{_ALSO.get(last, last)}"


def block_point(prefix: str, layer: int, point: Point) -> Point:
    """A block's point at one layer of the tower (``"vision."``) or the language model (``""``)."""
    axes = re.sub(r"\bbatch\b", "image", point.axes) if prefix else point.axes
    return Point(f"{prefix}blocks.{layer}.{point.name}", axes, point.about)


def matching(patterns: str | Iterable[str], names: Sequence[str]) -> list[str]:
    """The names that any of the patterns matches, in the names' order.

    Args:
        patterns: names, in which ``*``, ``?`` and ``[...]`` stand for what they do in a shell.
        names: every name there is.

    Raises:
        UnknownPointError: a pattern that matches nothing, with the nearest names.
        InputError: neither a pattern nor several.
    """
    patterns = as_patterns(patterns)
    known = set(names)
    for pattern in patterns:
        if pattern not in known and not any(fnmatchcase(name, pattern) for name in names):
            raise UnknownPointError(pattern, names)
    exact = known.intersection(patterns)
    wild = [pattern for pattern in patterns if pattern not in exact]
    return [n for n in names if n in exact or any(fnmatchcase(n, p) for p in wild)]


def as_patterns(given: Any) -> list[str]:
    """One pattern, or several.

    Raises:
        InputError: anything else.
    """
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, Iterable):
        raise InputError(f"{shown(given)}: the name of a point is wanted, or several")
    patterns = list(patterns)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise InputError(f"{shown(given)}: names of points are wanted")
    return patterns
