"""What identifies a value: all that it holds, and all the code that it would run."""

import copyreg
import functools
import pickle
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from vlmlens.errors import DataError
from vlmlens.identity import code, tensors
from vlmlens.identity.digests import digest
from vlmlens.identity.libraries import NOTES, is_library, owner, version

ATOMS = (type(None), bool, int, float, complex, type(...), type(NotImplemented), range, slice)
HELD: tuple[Any, ...] = (bool, int, float, str, bytes, tuple, list, dict, set, frozenset)
#: A module's own book-keeping; its hooks are looked for by ``identity.hooks``.
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


def value(given: Any) -> str:
    """A hash that only values share which would give the same result, in any process.

    Containers, arrays and tensors are known by what they hold; other objects by their class and
    their state; functions and classes that belong to no installed library by their code, their
    defaults, what they close over and the globals that they read, and so on through whatever those
    call. What an installed library brings is known by its name and the library's version. Neither
    comments nor places in a file count; nor does the order of a set.

    Raises:
        DataError: what can be told from others by its address alone, such as ``object()``, an
            open file or a generator.
    """
    return Content().of(given)


def glance(given: Any) -> str:
    """The same within this process, where a tokenizer's words are known by how many they are."""
    return Content(words=False).of(given)


class Content:
    """One look at values: what it has met, it does not look at again.

    Args:
        revision: stands for weights that are offloaded, and so cannot be read.
        words: read every word of a tokenizer's vocabulary.

    Attributes:
        own_code: whether any of it was code that belongs to no installed library.
    """

    def __init__(self, revision: str = "", words: bool = True) -> None:
        self.revision, self._words = revision, words
        self.own_code = False
        self._known: dict[int, str] = {}
        self._kept: list[Any] = []  # an id is an object's only while the object is there
        self._open: dict[int, int] = {}
        self._trail: list[str] = []

    def of(self, given: Any) -> str:
        """The hash of a value."""
        kind = type(given)
        if kind is str:
            return digest(b"str", given.encode("utf-8", "surrogatepass"))
        if kind is bytes or kind is bytearray:
            return digest(kind.__name__.encode(), given)
        if kind in ATOMS:
            return self.joined(kind.__name__, repr(given))
        known = self._known.get(id(given))
        if known is not None:
            return known
        if id(given) in self._open:  # it holds itself: known by how far up that was
            return self.joined("above", str(len(self._open) - self._open[id(given)]))
        self._open[id(given)] = len(self._open)
        try:
            made = self._read(given)
        finally:
            del self._open[id(given)]
        self._known[id(given)] = made
        self._kept.append(given)
        return made

    def joined(self, kind: str, *parts: str) -> str:
        """Some hashes as one."""
        return digest(kind.encode(), *(part.encode("utf-8", "surrogatepass") for part in parts))

    def named(self, pairs: Iterable[tuple[str, Any]]) -> list[str]:
        """Names and what they mean, in the order of the names."""
        parts = []
        for name, held in sorted(pairs, key=lambda pair: pair[0]):
            with self.at(name):
                parts += [name, self.of(held)]
        return parts

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Remember where this is, for what errors say."""
        self._trail.append(name)
        yield
        self._trail.pop()

    def _read(self, given: Any) -> str:
        read = CONTAINERS.get(type(given))
        if read is not None:
            return read(self, given)
        for kinds, read in READERS:
            if isinstance(given, kinds):
                return read(self, given)
        return self._object(given)

    def _items(self, given: Any) -> str:
        return self.joined(type(given).__name__, *map(self.of, given))

    def _set(self, given: Any) -> str:
        return self.joined(type(given).__name__, *sorted(map(self.of, given)))

    def _mapping(self, given: Any) -> str:
        parts = []
        for key, held in given.items():
            with self.at(str(key)):
                parts += [self.of(key), self.of(held)]
        return self.joined("dict", *parts)

    def _array(self, given: np.ndarray | np.generic) -> str:
        array = np.asarray(given)
        if array.dtype.hasobject:
            inside = self.joined("objects", *map(self.of, array.reshape(-1).tolist()))
        else:
            inside = digest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        mask = [self.of(np.asarray(given.mask))] if isinstance(given, np.ma.MaskedArray) else []
        return self.joined("array", str(array.dtype), str(array.shape), inside, *mask)

    def _tensor(self, given: Tensor) -> str:
        return tensors.tensor(given, self)

    def _module(self, given: nn.Module) -> str:
        if "hf_model" in vars(given):  # a HookedVLM: what it wraps, and the processor
            held = vars(given)
            return self.joined(
                "model",
                self.of(held["hf_model"]),
                self.of(held["processor"]),
                self.of(given.attention),
                held["_revision"],
            )
        state = {name: held for name, held in vars(given).items() if name not in MODULE_NOTES}
        return self.joined(
            "module",
            code.class_(type(given), self),
            *self.named(state.items()),
            *self.named((f".{name}", part) for name, part in given._modules.items()),
        )

    def _enum(self, given: Enum) -> str:
        return self.joined("enum", code.class_(type(given), self), given.name)

    def _image(self, given: Image.Image) -> str:
        palette = given.getpalette() if given.mode == "P" else None
        return self.joined(
            "image", given.mode, str(given.size), digest(given.tobytes()), self.of(palette)
        )

    def _labelled(self, given: Any) -> str:
        """xarray's: names, dimensions, values and attributes, in full."""
        named = getattr(given, "variables", None)
        if named is None and hasattr(given, "coords"):
            named = {"": given.variable, **given.coords.variables}
        if named is None:
            return self.joined(
                "variable", self.of(given.dims), self.of(given.values), self.of(given.attrs)
            )
        coordinates = sorted(map(str, getattr(given, "coords", {})))
        return self.joined(
            type(given).__name__,
            self.of(getattr(given, "name", None)),
            *self.named((str(name), variable) for name, variable in named.items()),
            *coordinates,
            self.of(given.attrs),
        )

    def _tokenizer(self, given: Any) -> str:
        if not self._words:
            steps = (given.normalizer, given.pre_tokenizer, given.post_processor, given.decoder)
            return self.joined("tokenizer", str(given.get_vocab_size()), *map(self.of, steps))
        # Calling a tokenizer writes how it last padded and cut; what it is begins behind that.
        text = given.to_str()
        return self.joined("tokenizer", text[text.index('"added_tokens"') :])

    def _object(self, given: Any) -> str:
        kind, home = type(given), owner(given)
        if callable(given) and is_library(home) and code.found(home, _name(given)) is given:
            return self.joined("library", home, _name(given), version(home))  # of Cython, say
        if is_library(kind.__module__):
            return self._reduced(given)
        state = code.state(given)
        held = [(base, base(given)) for base in HELD if isinstance(given, base)]
        if not state and not held and not code.does_something(kind):
            raise self.opaque(given)
        return self.joined(
            "object",
            code.class_(kind, self),
            *self.named(state.items()),
            *(self.of(part) for _, part in held),
        )

    def _reduced(self, given: Any) -> str:
        """A library's object, by what it would be made from again."""
        kind = type(given)
        if kind is object:
            raise self.opaque(given)
        try:
            if kind in copyreg.dispatch_table:
                made = copyreg.dispatch_table[kind](given)
            else:
                made = given.__reduce_ex__(4)
        except (TypeError, ValueError, AttributeError, RuntimeError, pickle.PicklingError) as error:
            raise self.opaque(given) from error
        if isinstance(made, str):
            return self.joined("named", owner(given), made, version(owner(given)))
        parts: list[Any] = [*made, None, None, None]
        function, args, state, *items = parts[:5]
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
            state = (state[0] or {}) | state[1]
        if isinstance(state, dict):
            state = [
                "state",
                *self.named(
                    (str(name), held)
                    for name, held in state.items()
                    if name not in NOTES and not code.is_cached(kind, str(name))
                ),
            ]
        else:
            state = ["state", self.of(state)]
        return self.joined(
            "made",
            code.class_(kind, self),
            self.of(function),
            self.of(args),
            *state,
            *(self.of(list(part)) for part in items if part is not None),
        )

    def opaque(self, given: Any) -> DataError:
        """What is said of a value that holds nothing that can be read."""
        where = f" ({' > '.join(self._trail)})" if self._trail else ""
        text = repr(given)
        return DataError(
            f"{text[:200]}{where} is known by its address alone, so its results could not be found "
            "again; make it a frozen dataclass, a function or a value of plain parts, or run "
            "without a folder"
        )


def _name(given: Any) -> str:
    return getattr(given, "__qualname__", None) or getattr(given, "__name__", None) or ""


def _read_partial(content: Content, given: functools.partial) -> str:
    held = given.func, given.args, given.keywords
    return content.joined("partial", *map(content.of, held))


def _read_method(content: Content, given: types.MethodType) -> str:
    return content.joined("method", content.of(given.__func__), content.of(given.__self__))


def _read_builtin(content: Content, given: Any) -> str:
    """A function of C: by its name, and by what it is bound to."""
    bound = getattr(given, "__self__", None)
    if bound is not None and not isinstance(bound, types.ModuleType | type):
        return content.joined("bound", given.__name__, content.of(bound))
    home = owner(given)
    return content.joined("builtin", home, given.__qualname__, version(home))


def _read_slot(content: Content, given: Any) -> str:
    return content.joined("slot", content.of(given.__objclass__), given.__name__)


def _read_wrapped(name: str) -> Callable[[Content, Any], str]:
    return lambda content, given: content.joined(
        type(given).__name__, content.of(getattr(given, name))
    )


def _read_property(content: Content, given: property) -> str:
    return content.joined("property", *map(content.of, (given.fget, given.fset, given.fdel)))


def _xarray() -> tuple[type, ...]:
    import xarray

    return xarray.DataArray, xarray.Dataset, xarray.Variable


def _tokenizers() -> tuple[type, ...]:
    from tokenizers import Tokenizer

    return (Tokenizer,)


#: How containers are read: these types, none that is derived from them.
CONTAINERS: dict[type, Callable[[Content, Any], str]] = {
    list: Content._items,
    tuple: Content._items,
    set: Content._set,
    frozenset: Content._set,
    dict: Content._mapping,
    OrderedDict: Content._mapping,
    types.MappingProxyType: Content._mapping,
}
#: How other values are read, by their kind; the first that fits.
READERS: list[tuple[Any, Callable[[Content, Any], str]]] = [
    (Enum, Content._enum),
    (Tensor, Content._tensor),
    (nn.Module, Content._module),
    ((np.ndarray, np.generic), Content._array),
    (types.FunctionType, lambda content, given: code.function(given, content)),
    (type, lambda content, given: code.class_(given, content)),
    (types.ModuleType, lambda content, given: code.module(given, content)),
    (types.CodeType, lambda content, given: code.body(given, content)),
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
    (PurePath, lambda content, given: content.joined("path", str(given))),
    (Image.Image, Content._image),
    (_xarray(), Content._labelled),
    (_tokenizers(), Content._tokenizer),
]
