"""What a model takes, told from its configuration alone: memory, operations, time, GPUs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from vlmlens.annotations import checked
from vlmlens.checks import number, one_of, whole
from vlmlens.errors import InputError
from vlmlens.model import HookedVLM
from vlmlens.planning.costs import SWEEPS, Card, Costs, Job
from vlmlens.planning.counted import Counted, Scale, weighing
from vlmlens.planning.pictures import drawn
from vlmlens.probes import cmb
from vlmlens.zoo.opening.weightless import weightless

#: Kinds of numbers that weights come in; float16 takes what bfloat16 takes.
DTYPES = ("bfloat16", "float32")
#: Of a card's memory, what is left to CUDA itself and to fragments.
SPARE = 0.1
STREAM = "blocks.*.hook_resid_post"


@dataclass(frozen=True)
class Memory:
    """What is held, in bytes, and where it fits.

    Attributes:
        weights: the model.
        run: beyond that, the most that a pass over one prompt holds.
        cmb: a pass that keeps what CMB needs.
        stream: a pass that keeps the residual stream after every block.
        more: what every further prompt of a batch adds to a pass.
        cards: GPUs that a prompt takes, blocks dealt evenly among them.
        batch: prompts that fit there at once.

    Examples:
        >>> from vlmlens.planning import Memory
        >>> Memory(weights=14, run=2, cmb=2, stream=3, more=2, cards=1, batch=3).cards
        1
    """

    weights: int
    run: int
    cmb: int
    stream: int
    more: int
    cards: int
    batch: int


@dataclass(frozen=True)
class Plan:
    """What a model takes.

    Attributes:
        model: what it is called.
        family: its architecture.
        layers: blocks of its language model.
        points: how many points it has.
        vision: vision tokens of the prompt that is reckoned with.
        text: its other tokens.
        parameters: by part.
        memory: by kind of numbers.
        jobs: what passes and experiments take, of one sample (or pair), in bfloat16.
        samples: how many there are.
        card: what it is reckoned for.

    Examples:
        >>> from vlmlens.planning import full_size, plan
        >>> found = plan("llava", full_size("llava"), sweeps=["last"])
        >>> round(sum(found.parameters.values()) / 1e9, 2), found.vision
        (7.06, 576)
        >>> [job.name for job in found.jobs]
        ['a pass', 'CMB', 'PSI, 5 permutations, 8 tokens', 'sweep, layers x last token']
        >>> found.memory["bfloat16"].cards, found.memory["float32"].cards
        (1, 1)
    """

    model: str
    family: str
    layers: int
    points: int
    vision: int
    text: int
    parameters: Mapping[str, int]
    memory: Mapping[str, Memory]
    jobs: tuple[Job, ...]
    samples: int
    card: Card

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON; ``seconds`` are of one sample."""
        made = asdict(self)
        for told, job in zip(made["jobs"], self.jobs, strict=True):
            told["seconds"] = job.seconds(self.card)
        return made


@checked
def plan(
    name: str,
    config: Any,
    *,
    samples: int = 1,
    text: int = 64,
    permutations: int = 5,
    tokens: int = 8,
    sweeps: Sequence[str] = (),
    card: Card | None = None,
) -> Plan:
    """What a model takes, counted on torch's meta device: no weight is read or made.

    The passes are run as they would be on a GPU, on shapes alone; the bytes that are held and the
    operations are those of torch's own calls. Attention is reckoned as its kernels do it, all
    pairs of positions and no matrix of scores in memory.

    Args:
        name: what the plan calls it.
        config: of transformers.
        samples: how many there are.
        text: tokens of a prompt beside its one picture.
        permutations: shuffles of an image, for PSI.
        tokens: of an answer.
        sweeps: of ``"last"``, ``"heads"`` and ``"rows"``.
        card: a GPU; by default of 80 GiB, 150e12 operations and 1.5e12 bytes a second.

    Raises:
        UnsupportedModelError: a configuration of which there is no model, or that cannot be wired.
        InputError: numbers that make no sense.

    Examples:
        >>> from vlmlens.planning import plan
        >>> found = plan("shapes-base", model.config, samples=100, sweeps=["last"])
        >>> found.vision, found.memory["float32"].weights == 2 * found.memory["bfloat16"].weights
        (64, True)
    """
    for each in sweeps:
        one_of(each, "sweeps", tuple(SWEEPS))
    for what, given in (("samples", samples), ("permutations", permutations), ("tokens", tokens)):
        whole(given, what, least=1)
    whole(text, "text", least=8)
    card = Card() if card is None else card
    for what, given in asdict(card).items():
        if number(given, what) <= 0:
            raise InputError(f"{what}={given}: more than nothing is wanted")
    trials = {dtype: _trial(name, config, dtype, text) for dtype in DTYPES}
    first = trials[DTYPES[0]]
    costs = first.costs
    jobs = [
        costs.clean(),
        Job("CMB", first.cmb.total, costs.weights),
        costs.psi(permutations, tokens),
        *map(costs.sweep, sweeps),
    ]
    return Plan(
        model=name,
        family=config.model_type,
        layers=costs.layers,
        points=first.points,
        vision=costs.length - text,
        text=text,
        parameters=first.parameters,
        memory={dtype: trial.memory(card) for dtype, trial in trials.items()},
        jobs=tuple(jobs),
        samples=samples,
        card=card,
    )


@dataclass(frozen=True)
class Trial:
    """Passes of a model without weights, in one kind of numbers."""

    parameters: Mapping[str, int]
    points: int
    costs: Costs
    cmb: Counted
    stream: Counted
    two: Counted

    def memory(self, card: Card) -> Memory:
        """What is held, and on how many cards."""
        weights, run = self.costs.weights, self.costs.counted.peak
        room = card.memory * 2**30 * (1 - SPARE)
        more = self.two.peak - run
        if run >= room:
            return Memory(weights, run, self.cmb.peak, self.stream.peak, more, 0, 0)
        cards = max(-int(-weights // (room - run)), 1)
        batch = 1 + int((room - weights / cards - run) // max(more, 1))
        return Memory(weights, run, self.cmb.peak, self.stream.peak, more, cards, batch)


def _trial(name: str, config: Any, dtype: str, text: int) -> Trial:
    model = weightless(name, config, getattr(torch, dtype))
    with HookedVLM(model, name=name) as vlm:
        parts = parts_of(vlm)
        with weighing(model, parts) as scale:
            return _tried(vlm, parts, scale, text)


def _tried(
    vlm: HookedVLM, parts: Mapping[str, Sequence[nn.Module]], scale: Scale, text: int
) -> Trial:
    inputs, both = drawn(vlm, text), drawn(vlm, text, batch=2)
    counted = scale.count(lambda: vlm.run(inputs))
    (layout,) = inputs.layouts
    image = layout.vision(0, 0)
    begins = {int(layout.row[at]): int(at) for at in reversed(image) if layout.row[at] >= 0}
    sizes = {name: sum(map(_bytes, modules)) for name, modules in parts.items()}
    width = vlm.config.get_text_config()
    costs = Costs(
        counted,
        layers=vlm.layers,
        heads=width.num_attention_heads,
        length=len(layout),
        rows=tuple(sorted(begins.values())),
        weights=_bytes(vlm.hf_model),
        blocks=sizes["blocks"],
    )
    return Trial(
        parameters=counted_by_part(vlm, parts),
        points=len(vlm.hook_dict),
        costs=costs,
        cmb=scale.count(lambda: vlm.run(inputs, save=cmb.NEEDS)),
        stream=scale.count(lambda: vlm.run(inputs, save=STREAM)),
        two=scale.count(lambda: vlm.run(both)),
    )


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def parts_of(vlm: HookedVLM) -> dict[str, Sequence[nn.Module]]:
    """The modules of the tower, the projector, the language model's blocks, and the head."""
    family, model = vlm.family, vlm.hf_model
    tower = family.vision_layers
    while (parent := tower.rpartition(".")[0]) and not f"{family.lm_layers}.".startswith(
        f"{parent}."
    ):
        tower = parent
    paths = {"projector": family.projector, "tower": tower, "head": family.lm_head}
    found: dict[str, Sequence[nn.Module]] = {
        name: [model.get_submodule(path)] for name, path in paths.items()
    }
    return found | {"blocks": list(model.get_submodule(family.lm_layers))}


def counted_by_part(vlm: HookedVLM, parts: Mapping[str, Sequence[nn.Module]]) -> Mapping[str, int]:
    """How many parameters each part has, each of them counted once."""
    order = {"embedding": [vlm.hf_model.get_input_embeddings()], **parts}
    known: set[int] = set()
    found: dict[str, int] = {}
    for name, modules in [*order.items(), ("rest", [vlm.hf_model])]:
        own = {id(p): p for module in modules for p in module.parameters() if id(p) not in known}
        known |= own.keys()
        found[name] = sum(p.numel() for p in own.values())
    return found
