"""What the numbers say, in sentences that claim no more than their intervals do."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from vlmlens.draws import PICTURE, units_of
from vlmlens.plots.figures.norms import vision_user_ratio
from vlmlens.report.written import NBSP, Estimate, in_category, over_samples, short

#: From this share on a picture counts as seen: boxes are rounded to whole pixels here and there.
ALL_SEEN = 0.995


@dataclass(frozen=True)
class Tile:
    """One number of the page's first row."""

    name: str
    value: str
    spread: str
    note: str


def notes(results: xr.Dataset, psi: xr.Dataset | None) -> list[str]:
    """What to beware of in any interval of the page, each once."""
    means = [
        over_samples(values.where(np.isfinite(values)).astype(float)).note
        for values in results.data_vars.values()
        if "sample" in values.dims and values.dtype.kind in "fiub"
    ]
    said = means if psi is None else [str(psi.attrs.get("note", "")), *means]
    return [note for note in dict.fromkeys(said) if note]


def gaps(values: xr.DataArray) -> str:
    """Says over which layers a mean is, where some of them have no value at all."""
    if "layer" not in values.dims:
        return ""
    known = values.notnull().any([dim for dim in values.dims if dim != "layer"])
    return "" if bool(known.all()) else f" ({int(known.sum())} of {known.size} layers have values)"


def sentences(results: xr.Dataset, psi: xr.Dataset | None) -> list[str]:
    """The report's summary: one paragraph for each question that these results can answer."""
    found = [
        _on_order(results, psi) if psi is not None else None,
        on_crops(results),
        _on_attention(results),
        _on_rotation(results),
        _on_norms(results),
    ]
    return [paragraph for paragraph in found if paragraph]


def tiles(results: xr.Dataset, psi: xr.Dataset | None) -> list[Tile]:
    """The numbers to see first."""
    found = []
    if psi is not None:
        index, whole, mixed = (
            in_category(psi, name) for name in ("psi", "accuracy", "accuracy_permuted")
        )
        if own_reference(results):
            found.append(_percent_tile("Answers changed", index, "by shuffling"))
            found.append(_percent_tile("Answers kept", mixed, "when shuffled"))
        else:
            found.append(_percent_tile("PSI", index, "0 would be: none is lost"))
            found.append(_percent_tile("Accuracy", whole, "vision tokens in order"))
            found.append(_percent_tile("Accuracy, shuffled", mixed, "same questions"))
    if "cmb" in results:
        share = over_samples(results["cmb"])
        note = "of image + question attention"
        if "cmb_uniform" in results:
            note = f"even attention: {short(float(results['cmb_uniform'].mean()))}"
        note += gaps(results["cmb"])
        found.append(Tile("Balance (CMB)", share.number, share.spread, note))
    if has_ratio(results):
        ratio = over_samples(vision_user_ratio(results["hidden_norm"]).isel(depth=0))
        note = "vision / user, at input"
        found.append(Tile("Norm ratio", f"{ratio.number}×", ratio.spread, note))
    return found


def own_reference(results: xr.Dataset) -> bool:
    """Whether the model's own unshuffled answers stand in for gold answers."""
    return results.attrs.get("reference") == "own"


def asked(results: xr.Dataset) -> str:
    """How many samples there are: "24 samples", "600 questions about 100 pictures"."""
    count = results.sizes.get("sample", 0)
    unit, which = units_of(results) if count else ("sample", np.zeros(0))
    return about(count, unit, len(np.unique(which)))


def about(questions: int, unit: str, units: int) -> str:
    """So many questions, and what is drawn where that is fewer."""
    if units == questions:
        return f"{questions} sample{'' if questions == 1 else 's'}"
    joined = "about" if unit == PICTURE else "in"
    return f"{questions} questions {joined} {units} {unit}{'' if units == 1 else 's'}"


def permutations(results: xr.Dataset) -> int:
    """How many shuffles each question was asked under."""
    return max(0, results.sizes.get("permutation", 1) - 1)


def _on_order(results: xr.Dataset, psi: xr.Dataset) -> str:
    index = in_category(psi, "psi")
    whole, mixed = in_category(psi, "accuracy"), in_category(psi, "accuracy_permuted")
    chance = in_category(psi, "chance")
    count = f" over {int(psi['n'][0])} questions" if "n" in psi else ""
    if "n" in psi and "units" in psi and int(psi["units"][0]) < int(psi["n"][0]):
        unit = str(psi.attrs.get("unit", PICTURE))
        count = f" over {about(int(psi['n'][0]), unit, int(psi['units'][0]))}"
    shuffles = permutations(results)
    if shuffles > 1:
        count += f" and {shuffles} shuffles of each"
    position = f"a Position Sensitivity Index (PSI) of {index.percent()}{count}"
    if own_reference(results):
        why = "These data have no answers, so the" if _unanswerable(results) else "The"
        return (
            f"{why} reference is what the model says without shuffling. It gives the same answer "
            f"to {mixed.percent()} of the questions when the vision tokens are shuffled, and "
            f"another to {index.percent()}{count}. This says how much order matters to the "
            "answers, not whether they are right."
        )
    verb = {1: "lowers", -1: "raises", 0: "changes"}[index.side(of=0.0)]
    text = (
        f"Shuffling the vision tokens {verb} accuracy from {whole.percent()} to "
        f"{mixed.percent()}: {position}."
    )
    if not index.known:
        text += " There is no interval, so this says little beyond these questions."
    elif index.side(of=0.0) == 0:
        text += (
            " The interval includes 0: these questions neither show that the order of the vision "
            "tokens matters, nor that it does not."
        )
    if not np.isnan(chance.value):
        text += f" Chance level is {short(chance.value)}{NBSP}%."
        if whole.side(of=chance.value) < 1 and whole.known:
            text += (
                " The unshuffled accuracy is itself not clearly above chance, and a model "
                "at chance level has no order to lose: read the PSI with that in mind."
            )
    return text


def _unanswerable(results: xr.Dataset) -> bool:
    """Whether own answers were taken because there are no others."""
    return not results.attrs.get("answered", 0)


def on_crops(results: xr.Dataset) -> str:
    """How much of how many pictures the model is shown; empty where it is all of each."""
    if "seen" not in results:
        return ""
    shares = results["seen"].values[np.isfinite(results["seen"].values)]
    part = shares[shares < ALL_SEEN]
    if not len(part):
        return ""
    low, high = (f"{100 * share:.0f}" for share in (part.min(), part.max()))
    much = f"{low}{NBSP}%" if low == high else f"{low} to {high}{NBSP}%"
    count = f"{len(part)} of {len(shares)}" if len(part) < len(shares) else f"all {len(shares)}"
    return (
        f"The model is shown {much} of the picture in {count} samples: its processor cuts off the "
        "rest, and what a question asks about may lie there."
    )


def _on_attention(results: xr.Dataset) -> str | None:
    if "cmb" not in results:
        return None
    share = over_samples(results["cmb"])
    text = (
        f"Averaged over layers and heads{gaps(results['cmb'])}, "
        f"{Estimate(*_hundredfold(share)).percent()} of the attention that goes to the "
        "image and the question goes to the image"
    )
    if "cmb_uniform" not in results:
        return text + "."
    even = float(results["cmb_uniform"].mean())
    excess = over_samples(results["cmb"] - results["cmb_uniform"])
    verdict = {
        1: "so a vision token draws more than an even share",
        -1: "so a vision token draws less than an even share",
        0: "which the interval does not tell from an even share",
    }[excess.side(of=0.0)]
    return (
        f"{text}; attention spread evenly over the same tokens would give "
        f"{short(100 * even)}{NBSP}%, {verdict}."
    )


def _on_rotation(results: xr.Dataset) -> str | None:
    if not {"alpha_v", "delta_alpha_v"} <= set(results):
        return None
    share, change = over_samples(results["alpha_v"]), over_samples(results["delta_alpha_v"])
    delta = results.attrs.get("delta")
    step = "the same small step"
    if delta is not None:  # numpy's where it was read from a file
        step = f"{delta:g} position" + ("" if delta == 1 else "s")
    text = (
        f"Rotating all vision keys by {step}, and nothing else, changes the share of attention on "
        f"the image by {change} on average over layers and heads{gaps(results['alpha_v'])}, where "
        f"the share is {share}."
    )
    if change.side(of=0.0) == 0 and change.known:
        text += " The interval includes 0; heads that gain and heads that lose cancel in this mean."
    return text


def _on_norms(results: xr.Dataset) -> str | None:
    if not has_ratio(results):
        return None
    ratio = vision_user_ratio(results["hidden_norm"])
    first = over_samples(ratio.isel(depth=0))
    text = (
        f"Where they enter the language model, vision tokens are {first} times as long as the "
        "user's tokens"
    )
    if ratio.sizes["depth"] < 3:
        return text + "."
    last = over_samples(ratio.isel(depth=-2))  # the one after it has been through the final norm
    return f"{text}; before the last block, {last} times."


def has_ratio(results: xr.Dataset) -> bool:
    """Whether some sample's vision tokens can be held against its user's."""
    if "hidden_norm" not in results:
        return False
    roles = {str(role) for role in results["role"].values}
    if not {"vision", "user"} <= roles:
        return False
    return bool(vision_user_ratio(results["hidden_norm"]).notnull().any())


def _percent_tile(name: str, estimate: Estimate, note: str) -> Tile:
    return Tile(name, f"{estimate.number}{NBSP}%", estimate.spread, note)


def _hundredfold(share: Estimate) -> tuple[float, float, float]:
    return 100 * share.value, 100 * share.low, 100 * share.high
