"""While tests run, annotations are checked: shapes by jaxtyping, all others by beartype alone.

jaxtyping's own decorator binds the arguments of every call anew and checks them twice, so that the
sizes of two tensors can be compared. Where no shape is named there is nothing to compare, and that
took a third of the suite's time. Functions within functions are left to the static checker.
"""

from collections.abc import Callable
from functools import partial, update_wrapper
from inspect import isclass, isfunction
from types import FunctionType
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import beartype

#: What was jaxtyping's own.
shaped = jaxtyping.jaxtyped


def typed(fn: Any = None, *, typechecker: Any) -> Any:
    """What jaxtyping's import hook decorates every function and dataclass of vlmlens with."""
    if fn is None:
        return partial(typed, typechecker=typechecker)
    if isclass(fn) and "__init__" in vars(fn) and "__dataclass_fields__" in vars(fn):
        fn.__init__ = typed(fn.__init__, typechecker=typechecker)
        return fn
    if not isfunction(fn):
        return shaped(fn, typechecker=typechecker)
    if "<locals>" in fn.__qualname__:  # made anew, and would be compiled anew, at every call
        return fn
    hints = {name: known(hint, fn) for name, hint in fn.__annotations__.items()}
    if any(map(names_a_shape, hints.values())):
        return shaped(fn, typechecker=typechecker)
    return unless_misused(fn, hints) if hints else fn


def known(hint: Any, fn: Any) -> Any:
    """What an annotation says, or Any where only type checkers import what it names."""

    def bare() -> None: ...

    bare.__annotations__ = {"hint": hint}
    try:
        return get_type_hints(bare, fn.__globals__, include_extras=True)["hint"]
    except NameError:
        return Any


def names_a_shape(hint: Any) -> bool:
    if isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(names_a_shape(part) for part in get_args(hint))


def unless_misused(fn: Any, hints: dict[str, Any]) -> Callable:
    """Checked, but for what tests do ``as_users``."""
    own, fn.__annotations__ = fn.__annotations__, hints
    checked = beartype(fn)
    fn.__annotations__ = own

    config = jaxtyping.config

    def call(*args: Any, **options: Any) -> Any:
        return (fn if config.jaxtyping_disable else checked)(*args, **options)

    # Of the same module: whose code it is counts where results are told apart.
    made = FunctionType(call.__code__, fn.__globals__, fn.__name__, None, call.__closure__)
    return update_wrapper(made, fn)


jaxtyping.jaxtyped = typed
