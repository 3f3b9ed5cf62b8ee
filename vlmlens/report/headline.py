"""The headline measures of a diagnosis, each as sums over samples: what models are compared by."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from vlmlens.experiments import Diagnosis
from vlmlens.plots.figures.norms import vision_user_ratio
from vlmlens.probes.psi import ORIGINAL
from vlmlens.report.summary import has_ratio, own_reference
from vlmlens.report.written import Estimate, in_category, over_samples

Samples = Float[np.ndarray, " sample"]


@dataclass(frozen=True, eq=False)
class Headline:
    """One measure of one model: ``scale`` sum(x) / sum(y) over samples.

    Attributes:
        name: of the measure.
        title: in words.
        units: of the estimate.
        x: a number a sample; NaN where it has none.
        y: the same.
        estimate: the measure, as the model's own report has it.
        scale: 100 where the units are per cent.
        kind: a "mean", a "share" of answers, or a "ratio" of answers, as PSI.
        answers: to every sample, of which x is the mean.
    """

    name: str
    title: str
    units: str
    x: Samples
    y: Samples
    estimate: Estimate
    scale: float = 1.0
    kind: str = "mean"
    answers: int = 1


def headlines_of(found: Diagnosis) -> list[Headline]:
    """Every headline measure that a diagnosis has: those of its summary tables, in their order."""
    return [*_answers(found.results, found.psi), *_inside(found.results)]


def _answers(results: xr.Dataset, psi: xr.Dataset) -> list[Headline]:
    """What answers tell: accuracies, PSI and what becomes of the right answer's probability."""
    if "correct" not in results:
        return []
    correct = results["correct"].transpose("sample", "permutation")
    intact, shuffled = _two(correct)
    titles = {
        "accuracy": "Accuracy, vision tokens in order",
        "accuracy_permuted": "Accuracy, vision tokens shuffled",
        "psi": "Position Sensitivity Index (PSI)",
    }
    if own := own_reference(results):
        titles["accuracy_permuted"] = "Answers kept when shuffled"
        titles["psi"] = "Answers changed by shuffling"
    sums = {"accuracy": (intact, _once(intact)), "accuracy_permuted": (shuffled, _once(intact))}
    sums["psi"] = intact - shuffled, intact
    if own:  # intact answers agree with themselves by construction
        del sums["accuracy"]
    shuffles = correct.sizes["permutation"] - 1
    kinds = {"psi": "share" if own else "ratio"}
    times = {"accuracy_permuted": shuffles, "psi": shuffles}
    found = [
        Headline(
            *(name, titles[name], "%", x, y, in_category(psi, name), 100.0),
            kind=kinds.get(name, "share"),
            answers=times.get(name, 1),
        )
        for name, (x, y) in sums.items()
    ]
    return found + _tokens(results, psi)


def _tokens(results: xr.Dataset, psi: xr.Dataset) -> list[Headline]:
    """What shuffling does to the answer's probability, and to all of the next token's."""
    found = []
    for name, of, title in (
        ("drop_log_prob", "log_prob", "Log probability of the right answer, lost by shuffling"),
        ("kl", "kl", "KL of the next token, in order from shuffled"),
    ):
        if of in results and name in psi:
            intact, shuffled = _two(results[of].transpose("sample", "permutation"))
            each = shuffled if name == "kl" else intact - shuffled
            told = Estimate(*(float(psi[f"{name}{end}"][0]) for end in ("", "_low", "_high")))
            found.append(Headline(name, title, "nats", each, _once(each), told))
    return found


def _inside(results: xr.Dataset) -> list[Headline]:
    """What is measured inside, averaged over layers and heads."""
    found = []
    for name, (title, values) in inside(results).items():
        known = values.where(np.isfinite(values))
        each = known.mean([dim for dim in known.dims if dim != "sample"]).values.astype(float)
        found.append(Headline(name, title, "", each, _once(each), over_samples(known)))
    return found


def inside(results: xr.Dataset) -> dict[str, tuple[str, xr.DataArray]]:
    """Measures inside the model that a summary tells, by name: what each is, and its values."""
    titles = {
        "cmb": "CMB, the image's share of attention to image and question",
        "cmb_uniform": "CMB if attention were spread evenly",
        "alpha_v": "alpha_V, attention of an end token to the image",
        "delta_g_v": f"|delta g_V| for {float(results.attrs.get('delta', 1)):g} RoPE step(s)",
        "delta_alpha_v": "delta alpha_V",
    }
    found = {name: (title, results[name]) for name, title in titles.items() if name in results}
    if "delta_g_v" in found:
        found["delta_g_v"] = titles["delta_g_v"], abs(results["delta_g_v"])
    if has_ratio(results):
        ratio = vision_user_ratio(results["hidden_norm"])
        found["norm_first"] = "vision / user norm at the embedding", ratio.isel(depth=0)
        if ratio.sizes["depth"] > 2:  # the last one has been through the final norm
            found["norm_last"] = "vision / user norm before the last block", ratio.isel(depth=-2)
    return found


def _once(each: Samples) -> Samples:
    """1 where there is a number."""
    return np.where(np.isnan(each), np.nan, 1.0)


def _two(values: xr.DataArray) -> tuple[Samples, Samples]:
    """A number a sample in order, and the mean of its shuffles."""
    is_intact = values["permutation"].values.astype(str) == ORIGINAL
    table = values.values.astype(float)
    return table[:, is_intact].mean(1), table[:, ~is_intact].mean(1)
