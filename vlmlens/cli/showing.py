"""What a diagnosis shows of its pictures, which the model is asked for while it is open."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlmlens.cli.terminal import err
from vlmlens.errors import VLMLensError

if TYPE_CHECKING:
    from vlmlens.experiments import Diagnosis
    from vlmlens.model import HookedVLM
    from vlmlens.report import Thumbnail
    from vlmlens.sample import Sample


def shown(
    model: "HookedVLM", asked: Sequence["Sample"], found: "Diagnosis", system: str | None
) -> tuple["Diagnosis", dict[str, tuple["Thumbnail", ...]]]:
    """The samples' pictures, and the diagnosis with the attention of its best and worst answers.

    A pass for each of those answers, six at most. Where a model has no attention to draw, the
    terminal says why, and the page goes without.
    """
    from vlmlens import experiments, report
    from vlmlens.experiments.naming import named

    def layout(each: "Sample") -> Any:
        return model.inputs(each, system=system).layouts[0]

    pictures = report.pictures(asked, layout)
    names = named(asked)
    best, worst = report.extremes(found.results)
    chosen = [replace(asked[names.index(name)], id=name) for name in best + worst]
    if not chosen:
        return found, pictures
    pictures |= report.pictures(chosen, layout)
    try:
        looked = experiments.attention_shown(model, chosen, system=system)
    except VLMLensError as error:
        err.print(f"the page shows no attention on pictures: {error}", markup=False, soft_wrap=True)
        return found, pictures
    return replace(found, tables={**found.tables, "attended": looked}), pictures
