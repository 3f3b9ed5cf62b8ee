"""Grades of items: by a rule from what was said, or from how likely each choice was."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vlmlens.checks import one_of
from vlmlens.errors import DataError
from vlmlens.evaluation.records import sample_of
from vlmlens.experiments.choosing import FORMS, Weights
from vlmlens.graders import Graded, Rule, right_choice
from vlmlens.sample import Sample

LIKELIHOOD = "likelihood:"


def graded(items: pd.DataFrame, rules: Mapping[str, Rule | None]) -> pd.DataFrame:
    """The items with what each answer was taken for, and its grade; failed ones stay without.

    Where choices were weighed and the rule is None, the likeliest is the answer and no rule reads
    it. An item without a right answer has no score.

    Args:
        items: of ``records``.
        rules: by the set's name.
    """
    made, cache = [], {}
    for row in items.to_dict("records"):
        rule = rules.get(row["data"])
        weighed = row["scoring"].startswith(LIKELIHOOD)
        label = row["scoring"] if weighed and rule is None else rule.label if rule else ""
        if not isinstance(row["answer"], str) or not label:
            made.append(("" if not isinstance(row["answer"], str) else label, None, None, np.nan))
            continue
        told = (row["data"], row["sample"], row["question"], row["answer"])
        if told not in cache:
            sample = sample_of(row)
            if rule is not None:
                rule.refuse([sample])
            cache[told] = (
                _chosen(row["answer"], sample) if rule is None else rule(row["answer"], sample)
            )
            if sample.answer is None and not sample.references:
                cache[told] = Graded(np.nan, cache[told].parsed, cache[told].state)
        found = cache[told]
        made.append((label, found.parsed, found.state, found.score))
    columns = ("rule", "parsed", "state", "score")
    parts = dict(zip(columns, map(list, zip(*made, strict=True)), strict=True)) if made else {}
    return items.assign(**parts)


def weighed(items: pd.DataFrame, form: str) -> pd.DataFrame:
    """The items with the choice that is likeliest in another form for their answer.

    Raises:
        InputError: no such form.
        DataError: items whose choices were not weighed, or not without the image.
    """
    one_of(form, "likelihood", FORMS)
    answers = []
    for row in items.to_dict("records"):
        if not row["scoring"].startswith(LIKELIHOOD):
            raise DataError(
                f"{row['data']} was answered in words ({row['scoring']}), so its choices have no "
                "likelihood: vlmlens evaluate --score likelihood"
            )
        if not isinstance(row["answer"], str):
            answers.append(row["answer"])
            continue
        blind = np.array(row["choice_blind"], dtype=float)
        if form == "calibrated" and (not len(blind) or np.isnan(blind).any()):
            raise DataError(
                f"{row['data']} was not weighed without its images: "
                "vlmlens evaluate --score likelihood:calibrated"
            )
        weights = Weights(
            np.array(row["choice_log_prob"], dtype=float),
            np.array(row["choice_tokens"], dtype=float),
            np.array([len(choice.encode()) for choice in row["choices"]], dtype=float),
            blind,
        )
        answers.append(row["choices"][int(FORMS[form](weights).argmax())])
    return items.assign(answer=answers, scoring=f"{LIKELIHOOD}{form}")


def _chosen(answer: str, sample: Sample) -> Graded:
    """A choice, held against the right one."""
    place = None if sample.answer is None else right_choice(sample.answer, sample.choices)
    right = place is not None and sample.choices[place] == answer
    return Graded(float(right), answer)
