"""The option ``--grader``: a rule by its name, or a judge of one's own."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlmlens.errors import InputError

if TYPE_CHECKING:
    from vlmlens.graders import Rule

GRADER = (
    "letter, yes_no, pope, exact, vqa, contains, number, spatial_bench; or MODULE:FUNCTION, a "
    "judge of your own. By default the set's own."
)
Grader = Annotated[str | None, typer.Option(help=GRADER)]


def rule_given(text: str | None, data: str = "") -> "Rule":
    """A rule by its name, or a function of one's own as one; the data's own where none is named.

    Raises:
        InputError: there is no such function.
    """
    from vlmlens.datasets import rule_of_set
    from vlmlens.graders import judge, rule_of

    if text is None:
        return rule_of_set(data)
    module, _, name = text.partition(":")
    if not module or not name:
        return rule_of(text)
    sys.path.insert(0, str(Path.cwd()))
    try:
        decide: Any = getattr(import_module(module), name)
        if not isinstance(decide, Callable):
            raise AttributeError(f"{name} of {module} is no function")
    except (ImportError, AttributeError) as error:
        raise InputError(f"--grader {text}: {error}; MODULE:FUNCTION of a module here") from error
    finally:
        sys.path.pop(0)
    return judge(decide, text)
