"""Dictionaries on a model for a while: autoencoders and transcoders in place of activations."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from vlmlens.annotations import checked
from vlmlens.checks import flag, shown, word
from vlmlens.errors import InputError
from vlmlens.interventions.base import within_block
from vlmlens.model.doors.contexts import Contexts
from vlmlens.model.wiring.dictionaries import ROW, decoded, encoded, row_axes
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.spliced import Splice, Spliced
from vlmlens.select import Where

#: Axes along which a dictionary's rows may lie.
CHANNELS = ("d_model", "d_mlp", ROW)


class Splicing(Contexts):
    """How dictionaries come into ``HookedVLM``; see there."""

    @checked
    def splice(
        self,
        point: str,
        dictionary: Any,
        *,
        error: bool = True,
        reads: str = "",
        where: Where = Where(),
    ) -> AbstractContextManager["Splicing"]:
        """A dictionary in the place of an activation, while this lasts, in this thread.

        Its features are points, by SAELens's names: ``hook_sae_input``, ``hook_sae_acts_post`` (or
        ``hook_sae_acts``), ``hook_sae_recons``, ``hook_sae_error`` and ``hook_sae_output`` under
        the name of the point that is replaced. They are saved, edited, patched, attributed and
        swept as any other. Hooks of the point itself come first.

        With the error term, what the features do not make of the activation is added, so the
        logits are the plain model's, bit for bit, until somebody edits; without it, what the
        features make goes on alone. Gradients pass through both.

        Args:
            point: whose activation is replaced: one row of channels a position. Of ``hook_z`` a row
                is all heads' channels, one head after another, as SAELens's attention SAEs have
                it; the dictionary's points then have the axis ``d_heads``.
            dictionary: has ``encode`` and ``decode``: an SAE of SAELens, ``interop.sae.load(...)``,
                a module of one's own. It stays on its own device and in its own dtype.
            error: whether to add what the features do not make.
            reads: where a transcoder reads, of the same block: ``"mlp.hook_in"``.
            where: the positions, samples and steps that are replaced; elsewhere all stays.

        Raises:
            InputError: no dictionary, one of another width, a point without rows of channels, or
                one where something is spliced in already.
            UnknownPointError: no such point.

        Examples:
            >>> sae = vl.interop.sae.load("shapes-base")
            >>> inputs, acts = model.inputs(sample), f"{sae.point}.hook_sae_acts_post"
            >>> with model.splice(sae.point, sae):
            ...     run = model.run(inputs, save=acts)
            >>> run.saved[acts].shape, run.saved.axes[acts]
            (torch.Size([1, 78, 512]), ('batch', 'pos', 'd_sae'))
            >>> torch.equal(run.logits, model.run(inputs).logits)
            True
        """
        host = self._one(point, "point")
        source = self._one(within_block(host.point.name, reads), "reads") if reads else host
        splice = Splice(host.point.name, dictionary, flag(error, "error"), source.point.name, where)
        self._refuse_splice(splice, host, source)
        return self._spliced(splice, host, source)

    def _one(self, name: str, what: str) -> WiredPoint:
        names = self.matching(word(name, what))
        if len(names) != 1:
            raise InputError(
                f"{what}={name!r} means {len(names)} points: a dictionary is spliced in at one, "
                "and others with a splice of their own"
            )
        return self.hook_dict[names[0]]

    def _refuse_splice(self, splice: Splice, host: WiredPoint, source: WiredPoint) -> None:
        given = splice.dictionary
        if not all(callable(getattr(given, name, None)) for name in ("encode", "decode")):
            raise InputError(
                f"{shown(given)} is no dictionary: encode(x) gives features, decode(acts) gives "
                "activations; vlmlens.interop.sae.load(...) reads one from a folder"
            )
        for point in (host, source):
            axes = row_axes(point.axes)
            if axes[-1] not in CHANNELS or "head" in str(axes[:-1]):
                raise InputError(
                    f"{point.name} has the axes {' '.join(point.axes)}: a dictionary reads and "
                    "writes one row of channels a position, as at blocks.*.hook_resid_post or "
                    "blocks.*.attn.hook_z"
                )
        if row_axes(source.axes)[:-1] != row_axes(host.axes)[:-1] or _after(
            self.hook_dict, source, host
        ):
            raise InputError(
                f"reads={source.name!r} has no row for each of {host.name} before that is reached: "
                "a transcoder reads before it writes, mlp.hook_in and then hook_mlp_out"
            )
        if any(other.point == splice.point for other in self.splices):
            raise InputError(
                f"something is spliced in at {splice.point} already: leave its `with` first"
            )
        _fits(self, splice, source)

    @contextmanager
    def _spliced(
        self, splice: Splice, host: WiredPoint, source: WiredPoint
    ) -> Iterator["Splicing"]:
        self.check_open()
        with self.opened_level() as level:
            made = Spliced(splice, host, source, level)
            own = {point.point.name: point for point in made.points.values()}
            lacking = {} if splice.error else {f"{host.name}.hook_sae_error": _WITHOUT}

            def take() -> None:
                made.take()
                self._known({n: p for n, p in self.hook_dict.items() if n not in own})
                self.absent = {n: why for n, why in self.absent.items() if n not in lacking}
                self.spliced = tuple(other for other in self.spliced if other is not made)

            with self.noted(take):
                at = list(self.hook_dict).index(host.point.name) + 1
                items = list(self.hook_dict.items())
                self._known(dict([*items[:at], *own.items(), *items[at:]]))
                self.absent = self.absent | lacking
                self.spliced = (*self.spliced, made)
                made.put()
                yield self

    def _known(self, points: dict[str, WiredPoint]) -> None:
        self.hook_dict = points  # pyright: ignore[reportIncompatibleVariableOverride]
        self.mod_dict = dict(points)


_WITHOUT = "the dictionary is spliced in without its error term: error=True"


def _after(points: dict[str, WiredPoint], source: WiredPoint, host: WiredPoint) -> bool:
    order = list(points)
    return order.index(str(source.name)) > order.index(str(host.name))


def _fits(vlm: Any, splice: Splice, source: WiredPoint) -> None:
    """Try a row, where it is known before a pass how long it is; the pass itself looks again."""
    text, tower = vlm.config.get_text_config(), splice.point.startswith(("vision.", "projector."))
    if tower or source.axes[-1] != "d_model":
        return
    device = vlm.device
    with torch.no_grad():
        row = torch.zeros(1, 1, text.hidden_size, device=device, dtype=vlm.hf_model.dtype)
        acts = encoded(splice.dictionary, row, source.point.name)
        width = text.hidden_size if vlm.hook_dict[splice.point].axes[-1] == "d_model" else None
        if width is not None:
            decoded(splice.dictionary, acts, (1, 1, width), splice.point)
