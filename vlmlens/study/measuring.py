"""Everything that the study measures of one model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from vlmlens import probes
from vlmlens.cache import Save
from vlmlens.datasets import shapes_2d
from vlmlens.datasets.shapes import CATEGORIES, CONTROLS
from vlmlens.experiments.by_patch import linear_table
from vlmlens.experiments.experiment import Experiment
from vlmlens.experiments.files import read, write
from vlmlens.experiments.joining import joined
from vlmlens.experiments.measures import Diagnosing, Measure
from vlmlens.experiments.summary import summarise
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.probes import embedding
from vlmlens.sample import Sample
from vlmlens.study.conditions import CONDITIONS

#: The study's questions: other than those of any card, gate or test.
SEED, SIZE = 30_000, 64
EACH, LOOKED, PROBED = 32, 72, 36
BATCH = 72
ASKED = (*CATEGORIES, *CONTROLS)
TABLES = ("answers", "inside", "tokens", "places")


def study_samples(each: int = EACH) -> list[Sample]:
    """Questions about test layouts, ``each`` of every category, drawn as small as they are seen.

    Examples:
        >>> from vlmlens.study import study_samples
        >>> found = study_samples(each=1)
        >>> len(found), len({each.category for each in found}), found[0].images[0]().size
        (9, 9, (64, 64))
    """
    return shapes_2d(each * len(ASKED), seed=SEED, categories=ASKED, size=SIZE)


def measured(model: HookedVLM, samples: Sequence[Sample], folder: Path) -> dict[str, xr.Dataset]:
    """The study's tables of one model; what is done already is read.

    Args:
        model: an open model.
        samples: questions with right answers.
        folder: keeps every table, and finished cells of the longest one.

    Returns:
        * ``answers``: ``correct`` and ``log_prob`` over (condition, sample)
        * ``inside``: CMB, RoPE sensitivity, hidden norms: means and intervals by layer and head
        * ``tokens``: quartiles of the norms of vision tokens, text tokens and the whole table
        * ``places``: how well row and column can be read off vision tokens, by layer

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.study import measured, study_samples
        >>> tables = measured(model, study_samples(each=1)[:2], Path("results"))
        >>> list(tables), dict(tables["answers"].correct.sizes)
        (['answers', 'inside', 'tokens', 'places'], {'condition': 15, 'sample': 2})
    """
    made = {
        "answers": lambda: answered(model, samples, folder / "cells"),
        "inside": lambda: looked_into(model, samples[:LOOKED]),
        "tokens": lambda: lengths(model, samples[:LOOKED]),
        "places": lambda: linear_table(model, samples[:PROBED]).sel(label=["row", "column"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in made.items():
        if not (path := folder / f"{name}.nc").is_file():
            write(make().assign_attrs(model=model.name, revision=model.revision), path)
    return {name: read(folder / f"{name}.nc") for name in made}


@dataclass(frozen=True)
class Enduring(Measure):
    """``Reciting`` under each of several lists of edits, of inputs that are made once.

    Attributes:
        conditions: label and edits.
    """

    conditions: tuple[tuple[str, tuple[Intervention, ...]], ...] = ()

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """``correct`` and ``log_prob`` over (condition, sample)."""
        gold = [sample.answer or "" for sample in samples]
        inputs = model.inputs(samples, system=self.system, answers=gold)
        tables = []
        for _, edits in self.conditions:
            run = model.run(inputs, [*interventions, *edits])
            found = {"correct": probes.answer_recited(run), "log_prob": probes.answer_log_prob(run)}
            tables.append(xr.Dataset(found))
        return joined(tables, "condition", [label for label, _ in self.conditions])


def answered(model: HookedVLM, samples: Sequence[Sample], folder: Path | None) -> xr.Dataset:
    """Every question under every condition."""
    tables = []
    for control in dict.fromkeys(how.control for how in CONDITIONS.values()):
        chosen = {name: how for name, how in CONDITIONS.items() if how.control == control}
        measure = Enduring(conditions=tuple((name, how.edits) for name, how in chosen.items()))
        asked = next(iter(chosen.values())).asked(samples)
        found = Experiment(model, asked, measure, batch=BATCH).run(folder)
        tables.append(found.isel(intervention=0, drop=True))
    return joined(tables, "condition").drop_vars(("question", "gold"))


def looked_into(model: HookedVLM, samples: Sequence[Sample]) -> xr.Dataset:
    """The paper's looks inside, averaged over samples."""
    found = Experiment(model, samples, Diagnosing(max_new_tokens=3), batch=BATCH).run()
    kept = ("cmb", "cmb_uniform", "hidden_norm", "alpha_v", "delta_g_v", "delta_alpha_v")
    chosen = found[list(kept)].isel(intervention=0, drop=True)
    user, vision = (chosen["hidden_norm"].sel(role=role) for role in ("user", "vision"))
    chosen["norm_ratio"] = (vision / user).drop_vars("role", errors="ignore")
    chosen["abs_delta_g_v"] = np.abs(chosen["delta_g_v"])
    return summarise(chosen, correction="fdr")


def lengths(model: HookedVLM, samples: Sequence[Sample]) -> xr.Dataset:
    """Norms as tokens enter the language model, and of the words that it knows."""
    need: Save = embedding.NEEDS[0]
    norms = probes.token_norms(model.run(model.inputs(samples), save=need))
    here = norms[np.isin(norms["role"], ("vision", "user"))]
    table = probes.embedding_norms(model)
    return probes.quartiles(xr.concat([here, table], "token"))
