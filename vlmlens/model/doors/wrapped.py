"""A transformers model with its points: wired, looked up, and left as it was found."""

import copy
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from vlmlens import identity
from vlmlens.annotations import checked
from vlmlens.checks import one_of, shown
from vlmlens.errors import ClosedModelError, InputError, UnknownPointError, UnsupportedModelError
from vlmlens.families import FAMILIES, Family
from vlmlens.model.doors.as_module import AsModule
from vlmlens.model.lifetime.board import Board
from vlmlens.model.lifetime.device import device_of
from vlmlens.model.lifetime.held import hold, instance, let_go
from vlmlens.model.lifetime.journal import Journal, in_turn
from vlmlens.model.lifetime.wrappers import unwrapped
from vlmlens.model.reuse.pictures import Reuse
from vlmlens.model.sequence.processing import refuse_no_processor
from vlmlens.model.wiring.hook_points import wire
from vlmlens.model.wiring.implementation import Implementations
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.recognise import recognise
from vlmlens.model.wiring.rotary import Rope
from vlmlens.model.wiring.spliced import Splice, Spliced
from vlmlens.points import as_patterns, matching, spelled
from vlmlens.zoo.opening.unwired import refuse_unwired


class Wrapped(AsModule):
    """What ``HookedVLM`` knows of its model; see there."""

    hf_model: Any
    hook_dict: dict[str, WiredPoint]

    @checked
    def __init__(self, hf_model: Any, processor: Any = None, name: str = "", revision: str = ""):
        vars(self).pop("hf_model", None)  # of one that was closed and is opened anew
        super().__init__()
        hf_model = unwrapped(hf_model)
        config: Any = getattr(hf_model, "config", None)
        if not isinstance(hf_model, nn.Module) or config is None:
            raise InputError(
                f"{shown(hf_model)} is no transformers model; from_pretrained(name) opens one"
            )
        refuse_no_processor(processor)
        refuse_unwired(type(hf_model).__name__, config.model_type)
        if getattr(config, "vision_config", None) is None:
            raise UnsupportedModelError(
                f"{type(hf_model).__name__} ({config.model_type}) is no vision-language model: its "
                "configuration has no vision_config"
            )
        self.journal, self._board = Journal(), Board()
        self.implementations = Implementations(hf_model, self.journal)
        # Beside the module tree: what HookedRootModule writes on its modules is not for theirs.
        self.__dict__["hf_model"] = hf_model
        self.processor, self.name, self.config = processor, name or config.model_type, config
        self._revision = revision
        self.opening: tuple[Any, ...] = ()
        self.recognised = config.model_type not in FAMILIES
        known = FAMILIES.get(config.model_type)
        self.family: Family = known.around(config) if known else recognise(hf_model)
        points, self.absent = wire(hf_model, self.family, self._board)
        self.hook_dict = points  # pyright: ignore[reportIncompatibleVariableOverride]
        self.mod_dict = dict(points)
        self.layers = config.get_text_config().num_hidden_layers
        self._closed = False
        self.shared: Reuse | None = None
        self.spliced: tuple[Spliced, ...] = ()
        self._warned_of_crops = False
        #: What it has from the beginning; what users add counts in what identifies a result.
        self._first_names = frozenset({*vars(self), "_first_names", "_give_back"})
        training = {module: module.training for module in hf_model.modules()}
        hold(hf_model, self)
        # Not a method, which would keep this alive: whoever drops it frees the model.
        self._give_back = partial(
            _give_back,
            hf_model,
            tuple(points.values()),
            self.implementations,
            self._board,
            training,
        )
        weakref.finalize(self, self._give_back).atexit = False
        hf_model.eval()
        self.implementations.watch()

    def depth(self, part: str = "blocks") -> int:
        """How many blocks a stack offers: ``"blocks"`` or ``"vision.blocks"``.

        Raises:
            InputError: another stack.

        Examples:
            >>> model.depth(), model.depth("vision.blocks")
            (4, 4)
        """
        return self._depths.get(one_of(part, "part", ("blocks", "vision.blocks")), 0)

    def matching(self, patterns: str | Sequence[str]) -> list[str]:
        """The points' names that match; see ``points.matching``.

        Raises:
            UnknownPointError: nothing matches; says why where the point exists in principle.
            InputError: neither a name nor several.

        Examples:
            >>> model.matching("blocks.*.hook_mlp_out")[:2]
            ['blocks.0.hook_mlp_out', 'blocks.1.hook_mlp_out']
            >>> model.matching("blocks.0.attn.hook_patern")
            Traceback (most recent call last):
            vlmlens.errors.UnknownPointError: ... did you mean blocks.0.attn.hook_pattern...
        """
        asked = as_patterns(patterns)
        asked = list(map(spelled, asked)) if self.spliced else asked
        for name in asked:
            if name in self.absent:
                raise UnknownPointError(name, self.hook_dict, f"({self.absent[name]})")
        if len(asked) == 1 and asked[0] in self.hook_dict:  # what a sweep asks for every cell
            return asked
        return matching(asked, list(self.hook_dict))

    @property
    def splices(self) -> tuple[Splice, ...]:
        """What is spliced in now."""
        return tuple(each.splice for each in self.spliced)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return device_of(self.hf_model.get_input_embeddings())

    @property
    def instance(self) -> str:
        """A name for this one model in memory, be it wrapped once or again."""
        return instance(self.hf_model)

    @property
    def revision(self) -> str:
        """Which version of the model this is: as given, else a hash of its settings and weights."""
        if self._revision:
            return self._revision
        # Not kept: somebody may write into the weights.
        return identity.value(self.hf_model)[:16]

    @property
    def given_revision(self) -> str:
        """The revision that somebody said; "" where nobody did."""
        return self._revision

    @property
    def attention(self) -> str:
        """How attention is computed unless a run asks otherwise."""
        return self.implementations.usual

    @property
    def rope(self) -> Rope | None:
        """The language model's rotation, layer by layer; None for one that does not rotate."""
        return self._rope

    @cached_property
    def _rope(self) -> Rope | None:
        rotates = [
            f"blocks.{layer}.attn.hook_cos" in self.hook_dict for layer in range(self.layers)
        ]
        if not any(rotates):
            return None
        text = self.config.get_text_config()
        types = getattr(text, "layer_types", None) or [""] * self.layers
        kinds = [kind if here else None for kind, here in zip(types, rotates, strict=True)]
        paths = self.family.rotaries(text) or [self.family.rotary] * self.layers
        rotary = [self.hf_model.get_submodule(path) for path in paths]
        return Rope.of(rotary, self.family.axes, kinds)

    @cached_property
    def vision_rope(self) -> Rope | None:
        """The tower's rotation along rows and columns of patches; None for one without."""
        if not self.family.vision_rotary:
            return None
        rotary = self.hf_model.get_submodule(self.family.vision_rotary)
        return Rope.on_grid(rotary, self.depth("vision.blocks"))

    @property
    def scaling(self) -> float | None:
        """What the language model's attention multiplies its scores with."""
        block = self.hf_model.get_submodule(self.family.lm_layers)[0]
        return getattr(getattr(block, "self_attn", None), "scaling", None)

    @property
    def softcap(self) -> float | None:
        """What the language model's attention caps its scores at, softly; None for no cap."""
        block = self.hf_model.get_submodule(self.family.lm_layers)[0]
        return getattr(getattr(block, "self_attn", None), "attn_logit_softcapping", None)

    @in_turn
    def close(self) -> None:
        """Take off every hook and leave the model as it was found.

        Examples:
            >>> with vl.HookedVLM.from_pretrained("shapes-base") as other:
            ...     hf_model = other.hf_model
            >>> other.run(model.inputs(sample))
            Traceback (most recent call last):
            vlmlens.errors.ClosedModelError: shapes-base is closed; wrap or open the model again
        """
        if not self._closed:
            self._give_back()
            self._closed = True

    def __deepcopy__(self, memo: dict) -> "Wrapped":
        """A copy of the model, opened by itself.

        Raises:
            InputError: hooks are on, which the copy would not have.
        """
        self.check_open()
        if hooked := [name for name, point in self.hook_dict.items() if point.watched]:
            raise InputError(
                f"hooks are on at {', '.join(hooked[:3])}{' ...' * (len(hooked) > 3)}, which a "
                "copy would not have: model.reset_hooks(), or the end of `with model.splice(...)`, "
                "takes them off"
            )
        model = copy.deepcopy(self.hf_model, memo)
        return type(self)(model, self.processor, self.name or "", self._revision)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise InputError(
            f"HookedVLM({self.name}) stays in its process, on a model in its memory, and cannot be "
            "pickled: open it where it is used, vl.HookedVLM.from_pretrained(...), or send "
            "model.hf_model there and wrap that"
        )

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_open(self) -> None:
        """Refuse a model that was closed.

        Raises:
            ClosedModelError: it was.

        Examples:
            >>> model.check_open()
        """
        if self._closed:
            raise ClosedModelError(f"{self.name} is closed; wrap or open the model again")

    @cached_property
    def _depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for name, point in self.hook_dict.items():
            if point.point.layer is not None:
                part = name[: name.index("blocks.") + 6]
                depths[part] = max(depths.get(part, 0), point.point.layer + 1)
        return depths


def _give_back(
    model: Any,
    points: Sequence[WiredPoint],
    implementations: Implementations,
    board: Board,
    training: Mapping[Any, bool],
) -> None:
    """Take off every hook and leave a model as it was found; more than once if need be."""
    if board.closed:
        return
    for point in points:
        point.remove_all()
    implementations.close()
    for module, flag in training.items():
        module.training = flag
    let_go(model)
    board.closed = True
