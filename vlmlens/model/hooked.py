"""HookedVLM: open a model; prepare inputs; run; generate."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor
from transformer_lens.HookedRootModule import HookedRootModule

from vlmlens import zoo
from vlmlens.cache import ActivationCache, Save
from vlmlens.errors import (
    ClosedModelError,
    InputError,
    UnknownPointError,
    UnsupportedModelError,
)
from vlmlens.families import FAMILIES, Family
from vlmlens.interventions import Intervention
from vlmlens.model import generate, html
from vlmlens.model.audit import audit
from vlmlens.model.device import device_of
from vlmlens.model.findings import Audit
from vlmlens.model.inputs import Inputs, from_samples
from vlmlens.model.raw import Roles, from_tensors
from vlmlens.model.recognise import recognise
from vlmlens.model.roads import Roads
from vlmlens.model.rotary import Rope
from vlmlens.model.run import Generation, Run
from vlmlens.model.watch import as_saves, one_pass, refuse_idle
from vlmlens.model.wiring import WiredPoint, wire
from vlmlens.points import matching
from vlmlens.sample import Picture, Sample


class HookedVLM(HookedRootModule):
    """A Hugging Face vision-language model with a hook point at every step.

    transformers runs its own model, unchanged: with nobody watching, logits are its logits bit
    for bit. ``run_with_hooks``, ``run_with_cache``, ``hooks``, ``add_hook``, ``reset_hooks`` and
    ``hook_dict`` work as in TransformerLens; ``run`` and ``generate`` add interventions, probes'
    rows and clean-up. Close it (or use ``with``) to leave the model as it was found.

    Args:
        hf_model: a transformers model. A family without a file of its own is wired as far as it
            can be recognised: ``audit`` says what that is worth.
        processor: its processor; without one, use ``inputs_from``.
        name: what results call the model.
        revision: which version of its weights this is, part of what identifies a result; by
            default a hash of them, made when it is first needed.

    Raises:
        UnsupportedModelError: a model that sees no images, or whose parts cannot be recognised.

    Attributes:
        hook_dict: every point by name.
        absent: why points that exist in principle do not exist here, by name.
        recognised: whether the points were recognised without a family of their own.
    """

    hf_model: Any
    hook_dict: dict[str, WiredPoint]

    def __init__(self, hf_model: Any, processor: Any = None, name: str = "", revision: str = ""):
        super().__init__()
        config: Any = hf_model.config
        if getattr(config, "vision_config", None) is None:
            raise UnsupportedModelError(
                f"{type(hf_model).__name__} ({config.model_type}) is no vision-language model: its "
                "configuration has no vision_config"
            )
        self._roads = Roads(hf_model)
        # Beside the module tree: what HookedRootModule writes on its modules is not for theirs.
        self.__dict__["hf_model"] = hf_model
        self.processor, self.name, self.config = processor, name or config.model_type, config
        self._revision = revision
        self.recognised = config.model_type not in FAMILIES
        known = FAMILIES.get(config.model_type)
        self.family: Family = known.around(config) if known else recognise(hf_model)
        points, self.absent = wire(hf_model, self.family)
        self.hook_dict = points  # pyright: ignore[reportIncompatibleVariableOverride]
        self.mod_dict = dict(points)
        self.layers = config.get_text_config().num_hidden_layers
        self._training = {module: module.training for module in hf_model.modules()}
        self._closed = False
        hf_model.eval()
        self._roads.watch()

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str = "auto",
        **options: Any,
    ) -> "HookedVLM":
        """Open a bundled model by name, a local folder, or a model of the Hugging Face hub.

        Args:
            model: ``"shapes-base"``, a path, or a hub id such as ``"llava-hf/llava-1.5-7b-hf"``.
            device: where to put it; by default where transformers does.
            dtype: of the weights; by default as they were saved.
            options: passed on to transformers, such as ``device_map="auto"`` or ``revision``.

        Raises:
            UnknownModelError: no such model, or the hub is out of reach.
            UnsupportedModelError: a model that sees no images, or whose parts are not recognised.
            InputError: a device or dtype that is not there.
        """
        hf_model, processor = zoo.load(model, dtype=dtype, **options)
        if device is not None:
            try:
                hf_model.to(device)
            except (RuntimeError, AssertionError) as error:
                raise InputError(f"cannot put the model on device={device!r}: {error}") from error
        return cls(hf_model, processor, str(model), zoo.revision(str(model), hf_model))

    # ------------------------------------------------------------------ inputs

    def inputs(
        self,
        samples: Sequence[Sample] | Sample | Picture | Sequence[Picture | Sequence[Picture]],
        prompts: Sequence[str] | str | None = None,
        *,
        system: str | None = None,
        answers: Sequence[str] | None = None,
        padding: str = "left",
    ) -> Inputs:
        """Samples, or images and prompts, as tensors with the role of every position.

        Args:
            samples: samples; or, with ``prompts``, one picture a prompt, or a list of them.
            prompts: what the user says, without chat template. ``<image>`` places the images;
                left out, they come first.
            system: a system prompt, for templates that know one.
            answers: what the assistant says, one a sample, in the role ``assistant`` after each
                prompt, as the template ends a turn; None stops where the answer begins.
            padding: the side on which shorter samples are padded.

        Raises:
            InputError: images and placeholders differ in number, or texts cannot be traced.
            ImageError: an image that cannot be read.
        """
        if self.processor is None:
            raise InputError("this model was opened without a processor: use inputs_from(...)")
        given: Any = samples if prompts is None else _samples(samples, prompts)
        given = list(given) if isinstance(given, Sequence) else [given]
        if not all(isinstance(item, Sample) for item in given):
            raise InputError("pass samples, or images together with prompts")
        return from_samples(
            given,
            self.processor,
            self.family,
            self.hf_model,
            system=system,
            answers=answers,
            padding=padding,
        )

    def inputs_from(
        self,
        input_ids: Int[Tensor, "batch pos"],
        *,
        attention_mask: Tensor | None = None,
        roles: Roles | Sequence[Roles] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
        **images: Tensor,
    ) -> Inputs:
        """Raw tensors, and the role of every position.

        Args:
            input_ids: tokens, image placeholders already expanded.
            attention_mask: 0 where a position is padding.
            roles: the role of every position, or half-open ranges by role
                (``{"system": (1, 10), "user": [(10, 12), (28, 37)]}``), for all samples or one
                each. Image and padding positions are found without; left out altogether, the
                rest is ``user``; in a mapping, what is not named is ``template``.
            sizes: width and height of every original image, for boxes in its pixels.
            images: ``pixel_values`` and whatever else the model takes of images
                (``image_grid_thw``, ``image_sizes``, ...), in order over the whole batch.

        Raises:
            InputError: tensors or roles that do not fit together.
        """
        given = {name: tensor for name, tensor in images.items() if tensor is not None}
        return from_tensors(
            input_ids,
            self.family,
            self.hf_model,
            attention_mask=attention_mask,
            roles=roles,
            sizes=sizes,
            images=given,
            processor=self.processor,
        )

    # ------------------------------------------------------------------ running

    def forward(self, inputs: Inputs | None = None, **tensors: Any) -> Tensor:
        """Logits (batch pos vocab), for TransformerLens's ``run_with_hooks`` and the like."""
        self._check_open()
        given = dict(inputs.tensors) if inputs is not None else {}
        return self.hf_model(**given, **tensors, use_cache=False).logits

    def run(
        self,
        inputs: Inputs,
        interventions: Sequence[Intervention] = (),
        save: str | Save | Sequence[str | Save] = (),
        *,
        attention: str = "auto",
        grad: bool = False,
    ) -> Run:
        """One pass.

        Args:
            inputs: from ``inputs`` or ``inputs_from``.
            interventions: edits, applied in order.
            save: points to keep, as names, patterns or ``Save``.
            attention: ``"auto"`` for the implementation that the model was opened with, or
                ``"eager"`` or ``"sdpa"``. Compare runs of one kind only: in half precision the
                two differ by more than many effects.
            grad: keep the graph, for gradients with respect to what is saved.

        Raises:
            UnknownPointError: a point that the model does not have.
            UnreachedPointError: a point that this pass never came by.
            EmptySelectionError: a selection that is empty.
            ClosedModelError: the model was closed.
        """
        self._check_open()
        refuse_idle(interventions, steps=1)
        for intervention in interventions:
            inputs = intervention.prepare(inputs)
        with self._roads.take(attention) as road, torch.set_grad_enabled(grad):
            logits, saved = one_pass(self, inputs, inputs.tensors, interventions, as_saves(save))
        return Run(inputs, logits, saved, road, self.rope, self.scaling, self.softcap)

    def generate(
        self,
        inputs: Inputs,
        interventions: Sequence[Intervention] = (),
        save: str | Save | Sequence[str | Save] = (),
        *,
        max_new_tokens: int = 16,
        temperature: float = 0.0,
        seed: int = 0,
        stop: bool = True,
        attention: str = "auto",
    ) -> Generation:
        """Continue the prompt token by token, under interventions, with the key-value cache.

        Args:
            inputs: left-padded, or of one length.
            interventions: edits, applied in order at every step. Positions of the prompt come
                by in step 0 only; at scores and patterns, keys of the prompt at every step.
            save: points to keep, of every step.
            max_new_tokens: how many tokens at most.
            temperature: 0 takes the likeliest token; otherwise tokens are drawn.
            seed: for drawing.
            stop: end at the model's end token; otherwise go on to ``max_new_tokens``.
            attention: as in ``run``.
        """
        self._check_open()
        refuse_idle(interventions, steps=max_new_tokens)
        for intervention in interventions:
            inputs = intervention.prepare(inputs)
        with self._roads.take(attention) as road, torch.no_grad():
            return generate.decode(
                inputs,
                partial(one_pass, self, interventions=interventions, saves=as_saves(save)),
                lambda step, logits, saved: Run(
                    step, logits, saved, road, self.rope, self.scaling, self.softcap
                ),
                tokenizer=getattr(self.processor, "tokenizer", None),
                config=self.hf_model.generation_config,
                cache=generate.empty_cache(self.config.get_text_config()),
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                stop=stop,
            )

    def run_with_cache(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, inputs: Inputs, names_filter: Any = None, **options: Any
    ) -> tuple[Tensor, ActivationCache]:
        """Logits and every activation that the filter names, as in TransformerLens.

        Args:
            inputs: from ``inputs`` or ``inputs_from``.
            names_filter: a name, a list of names, a predicate, or None for every point that
                this pass comes by.
            options: passed on to ``run``.
        """
        names = list(self.hook_dict)
        if callable(names_filter):
            saves = [Save(name) for name in names if names_filter(name)]
        elif names_filter is None:
            tower = "pixel_values" in inputs.tensors
            saves = [Save(n) for n in names if tower or not n.startswith(("vision.", "projector."))]
        else:
            saves = as_saves(names_filter)
        run = self.run(inputs, save=saves, **options)
        return run.logits, run.saved

    def road(self, attention: str) -> AbstractContextManager[str]:
        """Attention computed in one way while this lasts; yields what that is."""
        return self._roads.take(attention)

    def audit(self, inputs: Inputs | None = None) -> Audit:
        """What this model offers, and by how much every law is missed on it.

        Points: where each kind is present, whether one pass comes by, whether an edit of it
        reaches the logits. Laws: logits equal plain transformers', with nobody watching and with
        every point saved; the stream adds up; nothing attends to what comes later; turned queries
        and keys; decoding with the cache; a padded batch.

        Args:
            inputs: what to measure on; by default two drawn pictures and questions.

        Returns:
            An ``Audit``, which prints as a table.
        """
        self._check_open()
        return audit(self, inputs)

    def depth(self, part: str = "blocks") -> int:
        """How many blocks a stack offers: ``"blocks"`` or ``"vision.blocks"``."""
        return self._depths.get(part, 0)

    # ------------------------------------------------------------------ the rest

    def matching(self, patterns: str | Sequence[str]) -> list[str]:
        """The points' names that match; see ``points.matching``.

        Raises:
            UnknownPointError: nothing matches; says why where the point exists in principle.
        """
        asked = [patterns] if isinstance(patterns, str) else list(patterns)
        for name in asked:
            if name in self.absent:
                raise UnknownPointError(name, self.hook_dict, f"({self.absent[name]})")
        return matching(asked, list(self.hook_dict))

    def add_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        """Add a hook as TransformerLens does; a name or a condition that names nothing raises."""
        self._check_names(name)
        super().add_hook(name, *args, **kwargs)

    def _enable_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        self._check_names(name)
        super()._enable_hook(name, *args, **kwargs)

    def _check_names(self, name: str | Callable[[str], bool]) -> None:
        if isinstance(name, str):
            if name not in self.hook_dict:
                self.matching(name)
                advice = "(a hook takes one name, or a condition on names)"
                raise UnknownPointError(name, self.hook_dict, advice)
        elif not any(name(known) for known in self.hook_dict):
            raise UnknownPointError(str(name), self.hook_dict, "(the condition names no point)")

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return device_of(self.hf_model.get_input_embeddings())

    @property
    def revision(self) -> str:
        """Which version of the weights this is: as given, else a hash of all of them."""
        if not self._revision:
            digest = hashlib.sha256()
            for name, tensor in self.hf_model.state_dict().items():
                if tensor.is_meta:
                    raise InputError(
                        f"{name} is offloaded, so its weights cannot be told by a hash: wrap the "
                        "model with HookedVLM(..., revision='a name for this version of it')"
                    )
                digest.update(name.encode())
                digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
            self._revision = digest.hexdigest()[:16]
        return self._revision

    def _apply(self, fn: Callable, recurse: bool = True) -> "HookedVLM":
        """``to``, ``cuda``, ``half`` and the like, done to the model that this holds."""
        self.hf_model._apply(fn, recurse)
        return self

    @property
    def attention(self) -> str:
        """How attention is computed unless a run asks otherwise."""
        return self._roads.usual

    @cached_property
    def rope(self) -> Rope | None:
        """The language model's rotation, layer by layer; None for one that does not turn."""
        turning = [
            f"blocks.{layer}.attn.hook_cos" in self.hook_dict for layer in range(self.layers)
        ]
        if not any(turning):
            return None
        types = getattr(self.config.get_text_config(), "layer_types", None) or [""] * self.layers
        kinds = [kind if turns else None for kind, turns in zip(types, turning, strict=True)]
        rotary = self.hf_model.get_submodule(self.family.rotary)
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

    def close(self) -> None:
        """Take off every hook and leave the model as it was found."""
        if self._closed:
            return
        self.reset_hooks(including_permanent=True)
        self._roads.leave()
        for module, training in self._training.items():
            module.training = training
        self._closed = True

    def __enter__(self) -> "HookedVLM":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
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

    def _repr_html_(self) -> str:
        return html.model_html(self, self._closed)

    def __repr__(self) -> str:
        return (
            f"HookedVLM({self.name}: {self.config.model_type}, {self.layers} layers, "
            f"{len(self.hook_dict)} points, attention {self.attention}"
            f"{', closed' if self._closed else ''})"
        )


def _samples(images: Any, prompts: Sequence[str] | str) -> list[Sample]:
    if isinstance(prompts, str):
        prompts, images = [prompts], [images]
    if isinstance(images, Image.Image) or len(images) != len(prompts):
        given = 1 if isinstance(images, Image.Image) else len(images)
        raise InputError(f"{given} entries of images for {len(prompts)} prompts: give one each")
    grouped = [tuple(i) if isinstance(i, list | tuple) else (i,) for i in images]
    return [Sample(question=p, images=i) for i, p in zip(grouped, prompts, strict=True)]
