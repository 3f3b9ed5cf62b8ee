"""How a value of each kind is read: all that it holds, and all the code that it would run."""

import copyreg
import functools
import pickle
import types
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor, nn

from vlmlens.identity import code, tensors
from vlmlens.identity.digests import digest
from vlmlens.identity.hasher import Hasher
from vlmlens.identity.hooks import own_hooks
from vlmlens.identity.libraries import NOTES, is_library, owner

HELD: tuple[Any, ...] = (bool, int, float, str, bytes, tuple, list, dict, set, frozenset)
#: A module's own book-keeping; hooks of a user's own are read beside it.
MODULE_NOTES = (
    NOTES
    | {name for name in vars(nn.Module()) if name.endswith(("_hooks", "_hooks_with_kwargs"))}
    | {
        "_forward_hooks_always_called",
        "_non_persistent_buffers_set",
        "_modules",
        "_is_full_backward_hook",
        "_vlmlens_catcher",  # who watches attention, which a hook says, too
    }
)


def items(given: Any, content: Hasher) -> str:
    """A list or a tuple: its items, in order."""
    return content.joined(type(given).__name__, *map(content.of, given))


def unordered(given: Any, content: Hasher) -> str:
    """A set: its items, whatever their order."""
    return content.joined(type(given).__name__, *sorted(map(content.of, given)))


def mapping(given: Any, content: Hasher) -> str:
    """A mapping: its keys and values, in order."""
    parts = []
    for key, held in given.items():
        with content.at(str(key)):
            parts += [content.of(key), content.of(held)]
    return content.joined("dict", *parts)


def array(given: Shaped[np.ndarray, "..."] | np.generic, content: Hasher) -> str:
    """An array of numpy: its dtype, its shape and every byte; objects one by one; a mask."""
    array = np.asarray(given)
    content.by_row |= array.ndim > 1
    if array.dtype.hasobject:
        inside = content.joined("objects", *map(content.of, array.reshape(-1).tolist()))
    else:
        inside = digest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    mask = [content.of(np.asarray(given.mask))] if isinstance(given, np.ma.MaskedArray) else []
    return content.joined("array", str(array.dtype), str(array.shape), inside, *mask)


def module(given: nn.Module, content: Hasher) -> str:
    """A module of torch: its class, what it holds and its parts; a HookedVLM by what it wraps."""
    if "hf_model" in vars(given):  # a HookedVLM: what it wraps, and the processor
        held = vars(given)
        splices: Any = getattr(given, "splices", ())
        added = {
            name: value
            for name, value in held.items()
            if name not in held["_first_names"] and not code.is_cached(type(given), name)
        }
        return content.joined(
            "model",
            content.of(held["hf_model"]),
            content.of(held["processor"]),
            content.of(given.attention),
            held["_revision"],
            *content.named(added.items()),
            *map(content.of, splices),
        )
    state = {name: held for name, held in vars(given).items() if name not in MODULE_NOTES}
    hooks = list(own_hooks(given))
    by_row = content.by_row
    made = content.joined(
        "module",
        code.class_(type(given), content),
        *content.named(state.items()),
        *content.named((f".{name}", part) for name, part in given._modules.items()),
        *content.named((f"hook {number}", hook) for number, hook in enumerate(hooks)),
    )
    content.by_row = by_row  # weights are of no sample
    return made


def enum(given: Enum, content: Hasher) -> str:
    """A member of an enumeration: its class and its name."""
    return content.joined("enum", code.class_(type(given), content), given.name)


def image(given: Image.Image, content: Hasher) -> str:
    """A picture: its mode, its size, every pixel and the palette."""
    palette = given.getpalette() if given.mode == "P" else None
    return content.joined(
        "image", given.mode, str(given.size), digest(given.tobytes()), content.of(palette)
    )


def labelled(given: Any, content: Hasher) -> str:
    """xarray's: names, dimensions, values and attributes, in full."""
    named = getattr(given, "variables", None)
    if named is None and hasattr(given, "coords"):
        named = {"": given.variable, **given.coords.variables}
    if named is None:
        return content.joined(
            "variable", content.of(given.dims), content.of(given.values), content.of(given.attrs)
        )
    coordinates = sorted(map(str, getattr(given, "coords", {})))
    return content.joined(
        type(given).__name__,
        content.of(getattr(given, "name", None)),
        *content.named((str(name), variable) for name, variable in named.items()),
        *coordinates,
        content.of(given.attrs),
    )


def tokenizer(given: Any, content: Hasher) -> str:
    """A tokenizer of ``tokenizers``: its steps, and its vocabulary in full or by its size."""
    if not content.vocabulary:
        steps = (given.normalizer, given.pre_tokenizer, given.post_processor, given.decoder)
        return content.joined("tokenizer", str(given.get_vocab_size()), *map(content.of, steps))
    # Calling a tokenizer writes how it last padded and cut; what it is begins behind that.
    text = given.to_str()
    return content.joined("tokenizer", text[text.index('"added_tokens"') :])


def instance(given: Any, content: Hasher) -> str:
    """Any other object: its class, and the state that it holds."""
    kind, home = type(given), owner(given)
    if callable(given) and is_library(home) and code.found(home, _name(given)) is given:
        return content.joined("library", home, _name(given), content.met(home))  # of Cython, say
    if is_library(kind.__module__):
        return _reduced(given, content)
    state = code.state(given)
    held = [(base, base(given)) for base in HELD if isinstance(given, base)]
    if not state and not held and not code.does_something(kind):
        raise content.opaque(given)
    return content.joined(
        "object",
        code.class_(kind, content),
        *content.named(state.items()),
        *(content.of(part) for _, part in held),
    )


def _reduced(given: Any, content: Hasher) -> str:
    """A library's object, by what it would be made from again."""
    kind = type(given)
    if kind is object:
        raise content.opaque(given)
    try:
        if kind in copyreg.dispatch_table:
            made = copyreg.dispatch_table[kind](given)
        else:
            made = given.__reduce_ex__(4)
    except (TypeError, ValueError, AttributeError, RuntimeError, pickle.PicklingError) as error:
        raise content.opaque(given) from error
    if isinstance(made, str):
        return content.joined("named", owner(given), made, content.met(owner(given)))
    parts: list[Any] = [*made, None, None, None]
    function, args, state, *items = parts[:5]
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        state = (state[0] or {}) | state[1]
    if isinstance(state, dict):
        state = [
            "state",
            *content.named(
                (str(name), held)
                for name, held in state.items()
                if name not in NOTES and not code.is_cached(kind, str(name))
            ),
        ]
    else:
        state = ["state", content.of(state)]
    return content.joined(
        "made",
        code.class_(kind, content),
        content.of(function),
        content.of(args),
        *state,
        *(content.of(list(part)) for part in items if part is not None),
    )


def _name(given: Any) -> str:
    return getattr(given, "__qualname__", None) or getattr(given, "__name__", None) or ""


def _read_partial(given: functools.partial, content: Hasher) -> str:
    held = given.func, given.args, given.keywords
    return content.joined("partial", *map(content.of, held))


def _read_method(given: types.MethodType, content: Hasher) -> str:
    return content.joined("method", content.of(given.__func__), content.of(given.__self__))


def _read_builtin(given: Any, content: Hasher) -> str:
    """A function of C: by its name, and by what it is bound to."""
    bound = getattr(given, "__self__", None)
    if bound is not None and not isinstance(bound, types.ModuleType | type):
        return content.joined("bound", given.__name__, content.of(bound))
    home = owner(given)
    return content.joined("builtin", home, given.__qualname__, content.met(home))


def _read_slot(given: Any, content: Hasher) -> str:
    return content.joined("slot", content.of(given.__objclass__), given.__name__)


def _read_wrapped(name: str) -> Callable[[Any, Hasher], str]:
    return lambda given, content: content.joined(
        type(given).__name__, content.of(getattr(given, name))
    )


def _read_property(given: property, content: Hasher) -> str:
    return content.joined("property", *map(content.of, (given.fget, given.fset, given.fdel)))


def _xarray() -> tuple[type, ...]:
    import xarray

    return xarray.DataArray, xarray.Dataset, xarray.Variable


def _tokenizers() -> tuple[type, ...]:
    from tokenizers import Tokenizer

    return (Tokenizer,)


#: How containers are read: these types, none that is derived from them.
CONTAINERS: dict[type, Callable[[Any, Hasher], str]] = {
    list: items,
    tuple: items,
    set: unordered,
    frozenset: unordered,
    dict: mapping,
    OrderedDict: mapping,
    types.MappingProxyType: mapping,
}
#: How other values are read, by their kind; the first that fits.
READERS: list[tuple[Any, Callable[[Any, Hasher], str]]] = [
    (Enum, enum),
    (Tensor, tensors.tensor),
    (nn.Module, module),
    ((np.ndarray, np.generic), array),
    (types.FunctionType, code.function),
    (type, code.class_),
    (types.ModuleType, code.module),
    (types.CodeType, code.body),
    (types.MethodType, _read_method),
    (functools.partial, _read_partial),
    ((types.BuiltinFunctionType, types.MethodWrapperType), _read_builtin),
    ((types.MethodDescriptorType, types.WrapperDescriptorType), _read_slot),
    ((types.MemberDescriptorType, types.GetSetDescriptorType), _read_slot),
    (types.ClassMethodDescriptorType, _read_slot),
    ((classmethod, staticmethod), _read_wrapped("__func__")),
    (functools.cached_property, _read_wrapped("func")),
    (functools._lru_cache_wrapper, _read_wrapped("__wrapped__")),
    (property, _read_property),
    (PurePath, lambda given, content: content.joined("path", str(given))),
    (Image.Image, image),
    (_xarray(), labelled),
    (_tokenizers(), tokenizer),
]
