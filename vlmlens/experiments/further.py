"""Tables that ``diagnose_all`` adds to a diagnosis, one method each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from vlmlens import probes
from vlmlens.experiments.blind import CONTROLS, control_table, controls
from vlmlens.experiments.by_patch import linear_table, shown
from vlmlens.experiments.effects import causal_effects, dose_effects
from vlmlens.experiments.executors import Executor, skipping
from vlmlens.experiments.experiment import Experiment
from vlmlens.experiments.joining import joined
from vlmlens.experiments.measures import Answering, Comparing
from vlmlens.experiments.permuting import shuffles
from vlmlens.experiments.progress import Progress
from vlmlens.experiments.running import run_shown
from vlmlens.experiments.summary import summarise
from vlmlens.interventions import Intervention, MovePositions, PermuteVision, RotateRope
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample
from vlmlens.select import Where

#: Shares of an image's tokens that are shuffled.
DOSES = (0.25, 0.5, 0.75, 1.0)
#: Steps that vision keys are rotated, or vision tokens moved, by in the real pass.
STEPS = (1.0, 4.0, 16.0)
VISION = Where(positions="vision")
#: Structured permutations.
DESIGNS: Mapping[str, tuple[Intervention, ...]] = {
    design: (PermuteVision(design=design),)
    for design in (
        "within rows",
        "within columns",
        "rows",
        "columns",
        "blocks",
        "mirror",
        "transpose",
    )
}
#: Edits of positions, in the real pass.
CAUSAL: Mapping[str, tuple[Intervention, ...]] = {
    name: (edit,)
    for steps in STEPS
    for name, edit in (
        (f"keys {steps:+g}", RotateRope(delta=steps, of="keys", where=VISION)),
        (f"ids {steps:+g}", MovePositions(shift=steps, where=VISION)),
    )
}


#: What samples failed of: ``id`` and ``error``.
Failures = Sequence[Mapping[str, str]]
#: Pictures that linear probes are trained on, and that are shown patch by patch.
PROBED, SHOWN = 64, 8


@dataclass(frozen=True, eq=False)
class Further:
    """What the tables have in common.

    Attributes:
        model: the open model.
        answering: how it answers.
        batch: samples a pass.
        cells: the folder that keeps finished cells.
        scene: what is drawn together.
        seed: of tests and folds.
        max_failed: how many samples may fail.
        executor: who computes what is kept in the folder.
        progress: whether to show bars, or who is told.
    """

    model: HookedVLM
    answering: Answering
    batch: int
    cells: Path | None
    scene: str | bool | None
    seed: int
    max_failed: int | float
    executor: Executor = None
    progress: Progress = False

    def measured(
        self, asked: Sequence[Sample], names: Sequence[str], several: bool, lost: Failures
    ) -> dict[str, xr.Dataset]:
        """What experiments measure for the tables, of all samples or of a share of them.

        Args:
            asked: with the answers that they are held against.
            names: theirs.
            several: whether they are about more than one picture.
            lost: those that failed before.
        """
        rows = [row for row, sample in enumerate(asked) if sample.answer is not None]
        graded = [asked[row] for row in rows]
        how = self._how(names, lost)
        judged = self._how([names[row] for row in rows], lost)
        return {
            "doses": self.doses(graded, judged),
            "designs": self.edited(asked, DESIGNS, how),
            "causal": self.edited(asked, CAUSAL, how),
            "controls": self.blind(graded, several, judged),
        }

    def compared(
        self, asked: Sequence[Sample], names: Sequence[str], permutations: int, lost: Failures
    ) -> xr.Dataset:
        """How shuffling moves the logits of the first token of every answer."""
        how, edits = Comparing(system=self.answering.system), shuffles(permutations)
        run = Experiment(
            *(self.model, asked, how, edits, "permutation", self.batch, self.max_failed, names)
        )
        executor = self._how(names, lost)["executor"]
        return run_shown(run, self.cells, self.progress, "logits", executor)

    def tables(
        self,
        results: xr.Dataset,
        samples: Sequence[Sample],
        found: Mapping[str, xr.Dataset],
        several: bool,
        correction: str,
    ) -> dict[str, xr.Dataset]:
        """All of them.

        Args:
            results: every measurement of every sample.
            samples: with the answers that they came with.
            found: what was ``measured``.
            several: whether the samples are about more than one picture.
            correction: over the cells of every map.
        """
        system, drawn = self.answering.system, {"scene": self.scene, "seed": self.seed}
        judged = results["correct"].assign_attrs(reference=results.attrs["reference"])
        made = {
            "summary": summarise(results, correction=correction, **drawn),
            "flips": probes.answer_flips(judged, scene=self.scene),
            "doses": self.responses(found["doses"]),
            "designs": self.means(found["designs"]),
            "causal": self.means(found["causal"]),
            "controls": control_table(found["controls"], **drawn),
        }
        if several:
            made["linear"] = linear_table(
                *(self.model, samples[:PROBED]),
                system=system,
                batch=self.batch,
                seed=self.seed,
                max_failed=self.max_failed,
            )
        made["embedding"] = self.embedding(samples)
        made["shown"] = shown(
            self.model, samples[:SHOWN], system=system, max_failed=self.max_failed
        )
        return made

    def doses(self, samples: Sequence[Sample], how: dict[str, Any]) -> xr.Dataset:
        """Answers as more and more tokens are shuffled."""
        doses = [(0.0, ()), *((dose, (PermuteVision(fraction=dose),)) for dose in DOSES)]
        return dose_effects(self.model, samples, doses, measure=self.answering, **how)

    def responses(self, found: xr.Dataset) -> xr.Dataset:
        """Responses of accuracy and log-probability to the share of tokens that are shuffled."""
        names = ["correct", "log_prob"]
        tables = [
            probes.dose_response(found[name], scene=self.scene, seed=self.seed) for name in names
        ]
        return joined(tables, "of", names)

    def edited(
        self,
        samples: Sequence[Sample],
        edits: Mapping[str, tuple[Intervention, ...]],
        how: dict[str, Any],
    ) -> xr.Dataset:
        """What edits did to every answer."""
        return causal_effects(
            *(self.model, samples, edits),
            max_new_tokens=self.answering.max_new_tokens,
            system=self.answering.system,
            own=self.answering.own,
            **how,
        )

    def means(self, found: xr.Dataset) -> xr.Dataset:
        """Means and intervals of what edits did, over (intervention)."""
        wanted = ("kl", "agree", "top_drop", "log_prob_drop", "correct")
        means = found[[name for name in wanted if name in found]]
        means = means.rename({name: f"mean_{name}" for name in means})
        return summarise(means, scene=self.scene, seed=self.seed)

    def blind(self, samples: Sequence[Sample], several: bool, how: dict[str, Any]) -> xr.Dataset:
        """Answers without the picture; another picture needs several, and videos go out only."""
        kinds = [kind for kind in CONTROLS if several or kind != "other picture"]
        if any(sample.videos for sample in samples):
            kinds = ["text only"]
        return controls(self.model, samples, kinds, measure=self.answering, **how)

    def _how(self, names: Sequence[str], lost: Failures) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "folder": self.cells,
            "executor": skipping(self.executor, names, [each["id"] for each in lost]),
            "progress": self.progress,
        }

    def embedding(self, samples: Sequence[Sample]) -> xr.Dataset:
        """Norms of the embedding table and of the questions' own tokens."""
        asked = probes.embedding_norms(self.model, [sample.question for sample in samples])
        asked = asked.assign_coords(role=("token", ["questions"] * asked.sizes["token"]))
        table = probes.embedding_norms(self.model)
        return probes.quartiles(xr.concat([table, asked], "token", join="exact"))
