"""From models to arms: seeds pooled, with intervals that keep a question's answers together."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import xarray as xr

from vlmlens.datasets.shapes.questions import ABSOLUTE, CONTROLS, RELATIVE
from vlmlens.experiments.blind import control_table
from vlmlens.probes import dose_response, position_sensitivity_index
from vlmlens.probes.psi import ORIGINAL, OVERALL
from vlmlens.probes.statistics import mean_map
from vlmlens.study.conditions import DOSES, SHUFFLES

ITEM = "item"
#: Kind of question -> its categories.
KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"absolute": ABSOLUTE, "relative": RELATIVE, "no place": CONTROLS}
)


def pooled(answers: xr.Dataset, models: Sequence[str], name: str = "correct") -> xr.DataArray:
    """(condition, sample): the answers of several models as if they were one sample after another.

    The coordinate ``item`` says which question a sample is: resampled by it, a question comes or
    goes with the answers of all models, so that seeds do not pass for more questions.

    Examples:
        >>> from vlmlens.study import example_answers, pooled
        >>> answers = example_answers()
        >>> found = pooled(answers, ["base 0", "base 1"])
        >>> dict(found.sizes), found["item"].values.tolist()
        ({'condition': 15, 'sample': 8}, ['a', 'b', 'c', 'd', 'a', 'b', 'c', 'd'])
    """
    parts = [
        answers[name]
        .sel(model=model, drop=True)
        .astype(float)
        .assign_coords({ITEM: ("sample", answers["sample"].values.astype(str))})
        for model in models
    ]
    return xr.concat(parts, "sample", coords="different", compat="equals", join="exact")


def psi_table(answers: xr.Dataset, arms: Mapping[str, Sequence[str]]) -> xr.Dataset:
    """``position_sensitivity_index`` of every arm, over (arm, category).

    Examples:
        >>> from vlmlens.study import example_answers, psi_table
        >>> answers = example_answers()
        >>> found = psi_table(answers, {"base": ["base 0", "base 1"]})
        >>> found.psi.sel(arm="base", category="overall").item()
        50.0
    """
    tables = []
    for models in arms.values():
        chosen = pooled(answers, models).sel(condition=[ORIGINAL, *SHUFFLES])
        tables.append(
            position_sensitivity_index(chosen.rename(condition="permutation"), scene=ITEM)
        )
    return _by_arm(tables, arms)


def by_kind(answers: xr.Dataset) -> xr.Dataset:
    """The answers with three kinds of question for categories: more questions in each.

    Examples:
        >>> from vlmlens.study import by_kind, example_answers
        >>> answers = example_answers()
        >>> by_kind(answers).category.values.tolist()
        ['absolute', 'relative', 'absolute', 'relative']
    """
    kinds = {c: kind for kind, members in KINDS.items() for c in members}
    named = [kinds[str(c)] for c in answers["category"].values]
    return answers.assign_coords(category=("sample", named))


def each_run(answers: xr.Dataset) -> xr.Dataset:
    """``accuracy`` and ``psi`` of every model, over (model, category), without intervals.

    Examples:
        >>> from vlmlens.study import each_run, example_answers
        >>> answers = example_answers()
        >>> found = each_run(answers)
        >>> found.psi.dims, found.psi.sel(category="overall").values.tolist()
        (('category', 'model'), [50.0, 50.0])
    """
    right = answers["correct"].astype(float)
    overall = right.mean("sample").expand_dims(category=[OVERALL])
    by_category = right.groupby("category").mean("sample")
    whole = xr.concat([overall, by_category], "category", join="outer", coords="minimal")
    intact = whole.sel(condition=ORIGINAL, drop=True)
    shuffled = whole.sel(condition=list(SHUFFLES)).mean("condition")
    return xr.Dataset({"accuracy": intact, "psi": 100 * (intact - shuffled) / intact})


def condition_table(
    answers: xr.Dataset, arms: Mapping[str, Sequence[str]], conditions: Sequence[str]
) -> xr.Dataset:
    """``control_table`` of every arm: what each condition leaves, over (arm, control, category).

    Examples:
        >>> from vlmlens.study import condition_table, example_answers
        >>> answers = example_answers()
        >>> found = condition_table(answers, {"base": ["base 0", "base 1"]}, ["text only"])
        >>> found.accuracy_permuted.sel(control="text only", category="overall").item()
        0.5
    """
    tables = []
    for models in arms.values():
        chosen = pooled(answers, models).sel(condition=[ORIGINAL, *conditions])
        tables.append(
            control_table(chosen.rename(condition="control").to_dataset(name="correct"), scene=ITEM)
        )
    return _by_arm(tables, arms)


def difference_table(
    answers: xr.Dataset, one: Sequence[str], other: Sequence[str], condition: str = ORIGINAL
) -> xr.Dataset:
    """By how much one group of models answers better than another, over (category).

    Paired by question: for each, the share of ``one`` that is right minus the share of ``other``;
    ``mean``, ``low`` and ``high`` over questions.

    Examples:
        >>> from vlmlens.study import difference_table, example_answers
        >>> answers = example_answers()
        >>> found = difference_table(answers, ["base 0"], ["base 1"], "text only")
        >>> found["mean"].sel(category="overall").item()
        0.0
    """
    right = answers["correct"].astype(float).sel(condition=condition)
    apart = right.sel(model=list(one)).mean("model") - right.sel(model=list(other)).mean("model")
    kinds = [(OVERALL, apart), *((str(k), v) for k, v in apart.groupby("category"))]
    tables = [mean_map(values.drop_vars("category", errors="ignore")) for _, values in kinds]
    return xr.concat(tables, "category").assign_coords(category=[name for name, _ in kinds])


def dose_table(
    answers: xr.Dataset, arms: Mapping[str, Sequence[str]], categories: Sequence[str]
) -> xr.Dataset:
    """``dose_response`` of accuracy to the share of tokens shuffled, over (arm, dose).

    Examples:
        >>> from vlmlens.study import dose_table, example_answers
        >>> answers = example_answers()
        >>> found = dose_table(answers, {"base": ["base 0", "base 1"]}, ["color_abs", "color_rel"])
        >>> found["mean"].sel(arm="base").values.tolist()
        [1.0, 0.5, 0.5, 0.5, 0.5]
    """
    tables = []
    for models in arms.values():
        chosen = pooled(answers, models).sel(condition=list(DOSES.values()))
        chosen = chosen.isel(sample=chosen["category"].isin(list(categories)))
        doses = chosen.rename(condition="dose").assign_coords(dose=list(DOSES))
        tables.append(dose_response(doses, scene=ITEM))
    return _by_arm(tables, arms)


def _by_arm(tables: Sequence[xr.Dataset], arms: Mapping[str, Sequence[str]]) -> xr.Dataset:
    return xr.concat(
        tables, "arm", join="exact", coords="minimal", compat="override"
    ).assign_coords(arm=list(arms))
