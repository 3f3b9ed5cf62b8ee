"""From models to arms: seeds pooled, with intervals that keep a question's answers together."""

from collections.abc import Mapping, Sequence

import xarray as xr

from vlmlens.experiments.controls import control_table
from vlmlens.experiments.study.conditions import DOSES, SHUFFLES
from vlmlens.probes import dose_response, position_sensitivity_index
from vlmlens.probes.psi import ORIGINAL

ITEM = "item"


def pooled(answers: xr.Dataset, models: Sequence[str], name: str = "correct") -> xr.DataArray:
    """(condition, sample): the answers of several models as if they were one sample after another.

    The coordinate ``item`` says which question a sample is: resampled by it, a question comes or
    goes with the answers of all models, so that seeds do not pass for more questions.
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
    """``position_sensitivity_index`` of every arm, over (arm, category)."""
    tables = []
    for models in arms.values():
        chosen = pooled(answers, models).sel(condition=[ORIGINAL, *SHUFFLES])
        tables.append(
            position_sensitivity_index(chosen.rename(condition="permutation"), scene=ITEM)
        )
    return _by_arm(tables, arms)


def condition_table(
    answers: xr.Dataset, arms: Mapping[str, Sequence[str]], conditions: Sequence[str]
) -> xr.Dataset:
    """``control_table`` of every arm: what each condition leaves, over (arm, control, category)."""
    tables = []
    for models in arms.values():
        chosen = pooled(answers, models).sel(condition=[ORIGINAL, *conditions])
        tables.append(
            control_table(chosen.rename(condition="control").to_dataset(name="correct"), scene=ITEM)
        )
    return _by_arm(tables, arms)


def dose_table(
    answers: xr.Dataset, arms: Mapping[str, Sequence[str]], categories: Sequence[str]
) -> xr.Dataset:
    """``dose_response`` of accuracy to the share of tokens shuffled, over (arm, dose)."""
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
