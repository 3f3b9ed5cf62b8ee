"""What is measured in a cell: a model, some samples and interventions in; a table out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import xarray as xr

from vlmlens import probes
from vlmlens.annotations import Checked, settle
from vlmlens.errors import DataError
from vlmlens.experiments.reads import needs, passes
from vlmlens.graders import GRADERS, Rule, same
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM, Run
from vlmlens.probes import cmb, norms, rope
from vlmlens.probes.graded import GOLD, OWN
from vlmlens.sample import Sample


@dataclass(frozen=True)
class Measure(Checked):
    """A frozen value that measures: subclasses write ``__call__``.

    Attributes:
        system: a system prompt for every sample.
        allow_nonfinite: whether an experiment measures on where activations are NaN or infinite,
            instead of refusing the sample with the first such point.

    Examples:
        >>> import xarray as xr
        >>> from dataclasses import dataclass
        >>> from vlmlens.experiments import Measure
        >>> @dataclass(frozen=True)
        ... class Lengths(Measure):
        ...     def __call__(self, model, samples, interventions):
        ...         inputs = model.inputs(samples, system=self.system)
        ...         lengths = [len(layout) for layout in inputs.layouts]
        ...         return xr.Dataset({"length": ("sample", lengths)})
        >>> Lengths()(model, samples[:2], ()).length.values.tolist()
        [80, 80]
    """

    system: str | None = None
    allow_nonfinite: bool = field(default=False, kw_only=True)

    def __post_init__(self):
        settle(self)

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """A table with the dimension ``sample``."""
        raise NotImplementedError(f"{type(self).__name__} must say what it measures")


@dataclass(frozen=True)
class Probing(Measure):
    """Any probes, in one pass over the prompt, or in as few as what they save allows.

    Attributes:
        probes: functions from a run to a DataArray, in modules that say what they NEED.

    Examples:
        >>> from vlmlens import probes
        >>> from vlmlens.experiments import Probing
        >>> measure = Probing(probes=(probes.attention_entropy, probes.hidden_norms))
        >>> list(measure(model, samples, ()))
        ['entropy', 'hidden_norm']
    """

    probes: tuple[Callable[[Run], xr.DataArray], ...] = ()

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """Every probe's table, merged."""
        inputs = model.inputs(samples, system=self.system)
        tables: list[xr.Dataset | xr.DataArray] = []
        for together in passes(model, self.probes):
            run = model.run(inputs, interventions, needs(together))
            tables += [probe(run) for probe in together]
        return xr.merge(tables, join="exact", compat="no_conflicts")


@dataclass(frozen=True)
class Answering(Measure):
    """What the model answers, whether that is right, and how likely the right answer is.

    Attributes:
        max_new_tokens: the length of an answer at most.
        own: the samples' answers are the model's own: ``correct`` is 1 where it says the same
            (``graders.same``), and not where it names the right answer. The attribute
            ``reference`` says so to what makes tables of them.
        rule: grades what is said where answers are not the model's own.

    Examples:
        >>> from vlmlens.experiments import Answering
        >>> found = Answering(max_new_tokens=4)(model, samples, ())
        >>> list(found), [str(word) for word in found.answer.values]
        (['answer', 'correct', 'log_prob'], ['green', 'purple', 'triangle', 'triangle'])
    """

    max_new_tokens: int = 8
    own: bool = False
    rule: Rule = GRADERS["letter"]

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """``answer``; and, of samples that have a right one, ``correct`` and ``log_prob``.

        These two are NaN for a sample without, and missing where all are.
        """
        inputs = model.inputs(samples, system=self.system)
        gold, known = stand_ins(samples)
        said = model.generate(
            inputs,
            interventions,
            max_new_tokens=self.max_new_tokens,
            answered=[model.inputs(samples, system=self.system, answers=gold)] if gold else [],
        )
        table = xr.Dataset({"answer": probes.answers(said)})
        if gold:
            right = probes.accuracy(said, gold, rule=same if self.own else self.rule)
            table["correct"] = right.where(known)
            table["log_prob"] = probes.answer_log_prob(said).where(known)
            for name in ("correct", "log_prob"):
                table[name].attrs["reference"] = OWN if self.own else GOLD
        return table


@dataclass(frozen=True)
class Reciting(Measure):
    """Whether greedy decoding says the right answer, word for word: one pass, no generation.

    Examples:
        >>> from vlmlens.experiments import Reciting
        >>> Reciting()(model, samples, ()).correct.values.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """``correct`` and ``log_prob``.

        Raises:
            DataError: a sample without a right answer.
        """
        gold = [sample.answer for sample in samples]
        if None in gold:
            lacking = samples[gold.index(None)]
            name = lacking.id or lacking.question
            raise DataError(f"sample {name!r} has no right answer to be recited; give it one")
        inputs = model.inputs(samples, system=self.system, answers=gold)  # type: ignore[arg-type]
        run = model.run(inputs, interventions)
        return xr.Dataset(
            {"correct": probes.answer_recited(run), "log_prob": probes.answer_log_prob(run)}
        )


@dataclass(frozen=True)
class Comparing(Measure):
    """How far edits move what the model says, against the same batch without them.

    Needs no right or wrong: KL and agreement are there for any sample.

    Examples:
        >>> from vlmlens.experiments import Comparing
        >>> from vlmlens.interventions import PermuteVision
        >>> found = Comparing()(model, samples, (PermuteVision(seed=0),))
        >>> list(found), bool((found.kl >= 0).all())
        (['kl', 'agree', 'top_drop', 'log_prob', 'log_prob_drop'], True)
    """

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """``kl``, ``agree``, ``top_drop`` of the answer's first token.

        And, of samples with a right answer, ``log_prob`` of it and ``log_prob_drop``, what the
        edits took from it: NaN for a sample without, and missing where all are.
        """
        gold, known = stand_ins(samples)
        inputs = model.inputs(samples, system=self.system, answers=gold or None)
        clean, edited = model.run(inputs), model.run(inputs, interventions)
        table = probes.output_divergence(edited, clean)
        if gold:
            table["log_prob"] = probes.answer_log_prob(edited).where(known)
            table["log_prob_drop"] = probes.answer_log_prob(clean) - table["log_prob"]
        return table


@dataclass(frozen=True)
class Diagnosing(Measure):
    """The paper's three looks inside: CMB while answering, RoPE sensitivity, norms by depth.

    Attributes:
        max_new_tokens: how many decoding steps CMB is averaged over, at most.
        delta: RoPE steps that the vision keys are rotated by.

    Examples:
        >>> from vlmlens.experiments import Diagnosing
        >>> found = Diagnosing(max_new_tokens=2)(model, samples[:2], ())
        >>> {"cmb", "delta_alpha_v", "hidden_norm"} <= set(found), found.cmb.dims
        (True, ('sample', 'layer', 'head'))
    """

    max_new_tokens: int = 8
    delta: float = 1.0

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """``cmb``, ``cmb_uniform``, ``hidden_norm``, ``seen``, and ``rope_sensitivity``'s."""
        inputs = model.inputs(samples, system=self.system)
        saves = [*cmb.NEEDS, *norms.NEEDS]
        said = model.generate(inputs, interventions, saves, max_new_tokens=self.max_new_tokens)
        balance = probes.cross_modality_balance(said)
        table = xr.Dataset(
            {
                "cmb": balance.drop_vars("uniform"),
                "cmb_uniform": balance["uniform"],
                "hidden_norm": probes.hidden_norms(said.steps[0]),
                "seen": probes.share_seen(said),
            }
        )
        ended = probes.paper_query(model, inputs)
        rotated = probes.rope_sensitivity(
            model.run(ended, interventions, rope.NEEDS, logits=False), delta=self.delta
        )
        return table.merge(rotated, join="exact", compat="override")


def stand_ins(samples: Sequence[Sample]) -> tuple[list[str], xr.DataArray]:
    """Every sample's right answer, another's in place of one that is missing; and who has one.

    Nothing where no sample has an answer. What is measured of a stand-in is to be left out.
    """
    known = [sample.answer for sample in samples if sample.answer is not None]
    gold = [known[0] if s.answer is None else s.answer for s in samples] if known else []
    has = [sample.answer is not None for sample in samples]
    return gold, xr.DataArray(has, dims="sample")
