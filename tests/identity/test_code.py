"""Values and code are known by what they hold and do: every way in which they can differ counts."""

import copy
import os
import pickle
import sys
import textwrap
import types
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from children import ran
from torch import nn

import vlmlens as vl
from vlmlens.cache.activations import contents
from vlmlens.errors import DataError
from vlmlens.identity import value

HEAD = """
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache, partial, cached_property
import functools, math, types
import numpy as np
import torch
import vlmlens as vl
from vlmlens.experiments import Measure
"""


def made(code, name="it"):
    """What a script defines, as if it were typed in."""
    scope = {"__name__": "__main__"}
    exec(compile(textwrap.dedent(HEAD) + textwrap.dedent(code), "<stdin>", "exec"), scope)
    return scope[name]


#: Code, and two things in the place of ``??`` with which its ``it`` does not do the same.
OTHERS = {
    "constant": ("def it(x): return x * ??", "2", "3"),
    "kind of constant": ("def it(x): return x * ??", "1", "True"),
    "operator": ("it = lambda x: x ?? 2", "*", "+"),
    "attribute": ("it = lambda x: x.??()", "sin", "cos"),
    "one line": ("one, other = lambda x: x, lambda x: -x; it = ??", "one", "other"),
    "default": ("def it(x, k=??): return x * k", "1", "2"),
    "keyword default": ("def it(x, *, k=??): return x * k", "1", "2"),
    "default of a loop": ("it = [lambda x, k=k: x * k for k in (1, 2)][??]", "0", "1"),
    "closure": ("def f(k):\n return lambda x: x * k\nit = f(??)", "1", "2"),
    "global": ("K = ??\ndef it(x): return x * K", "1", "2"),
    "global of a comprehension": ("K = ??\ndef it(x): return [K for _ in x]", "1", "2"),
    "inside a global": ("K = {'a': [1, ??]}\ndef it(x): return K['a']", "2", "3"),
    "array in a global": ("K = np.arange(9.); K[4] += ??\nit = lambda x: x * K", "0", "1e-9"),
    "helper": ("def h(x): return ??\ndef it(x): return h(x)", "x", "-x"),
    "helper's helper": (
        "def g(x): return ??\ndef h(x): return g(x)\ndef it(x): return h(x)",
        *("x", "-x"),
    ),
    "partial": ("def f(x, k): return x\nit = partial(f, k=??)", "1", "2"),
    "partial of another": ("def f(x): return ??\nit = partial(f)", "x", "-x"),
    "decorated": ("@torch.no_grad()\ndef it(x): return ??", "x", "-x"),
    "cached": ("@lru_cache\ndef it(x): return ??", "x", "-x"),
    "library function": ("it = torch.??", "sin", "cos"),
    "method bound": (
        "class A:\n def __init__(s, k): s.k = k\n def f(s, x): return x * s.k\nit = A(??).f",
        *("1", "2"),
    ),
    "method": ("class A:\n def f(s, x): return ??\nit = A().f", "x", "-x"),
    "callable": ("class A:\n def __call__(s, x): return ??\nit = A()", "x", "-x"),
    "own edit": (
        "@dataclass(frozen=True)\nclass A(vl.Intervention):\n"
        " def edit(s, x, site): return x * ??\nit = A('hook_embed')",
        *("0", "5"),
    ),
    "own measure": (
        "@dataclass(frozen=True)\nclass A(Measure):\n def __call__(s, *a): return ??\nit = A()",
        *("1", "2"),
    ),
    "own module": (
        "class A(torch.nn.Module):\n def forward(s, x): return ??\nit = A()",
        *("x", "-x"),
    ),
    "hook on a module": (
        "it = torch.nn.Identity()\nit.register_forward_hook(lambda m, i, o: ??)",
        *("o", "-o"),
    ),
    "hook on a part": (
        "it = torch.nn.Sequential(torch.nn.Identity())\n"
        "it[0].register_forward_pre_hook(lambda m, i: ??)",
        *("i", "None"),
    ),
    "method of a metaclass": (
        "class M(type):\n def f(c): return ??\nclass A(metaclass=M): pass\nit = A",
        *("1", "2"),
    ),
    "dispatched by type": (
        "import functools\n@functools.singledispatch\ndef it(x): return x\n"
        "it.register(torch.Tensor)(lambda x: ??)",
        *("x", "-x"),
    ),
    "base": (
        "class B:\n def f(s): return ??\nclass A(B):\n def g(s): return s.f()\nit = A()",
        *("1", "2"),
    ),
    "class in a function": (
        "def f(k):\n class A:\n  def __call__(s, x): return x * k\n return A()\nit = f(??)",
        *("1", "2"),
    ),
    "class attribute": ("class A:\n k = ??\n def f(s): return s.k\nit = A()", "1", "2"),
    "static method": ("class A:\n @staticmethod\n def f(x): return ??\nit = A()", "x", "-x"),
    "property": ("class A:\n @property\n def f(s): return ??\nit = A()", "1", "2"),
    "hidden from repr": ("@dataclass\nclass A:\n k: int = field(repr=False)\nit = A(??)", "1", "2"),
    "compared by nobody": (
        "@dataclass\nclass A:\n k: int = field(compare=False)\nit = A(??)",
        *("1", "2"),
    ),
    "own repr": (
        "class A:\n def __init__(s, k): s.k = k\n def __repr__(s): return 'A'\nit = A(??)",
        *("1", "2"),
    ),
    "own state": (
        "class A:\n def __init__(s, k): s.k = k\n def __getstate__(s): return {}\nit = A(??)",
        *("1", "2"),
    ),
    "slots": (
        "class A:\n __slots__ = ('k',)\n def __init__(s, k): s.k = k\nit = A(??)",
        *("1", "2"),
    ),
    "list of one's own": ("class A(list):\n def f(s): return 1\nit = A([??])", "1", "2"),
    "module of one's own": (
        "M = types.ModuleType('m'); M.k = ??\nit = lambda x: x * M.k",
        *("1", "2"),
    ),
    "generator": ("def it(x): yield ??", "x", "-x"),
    "caught": ("def it(x):\n try: return x\n except ??: return 0", "ValueError", "TypeError"),
    "recursion": ("def it(x): return it(x - 1) if x else ??", "0", "1"),
}
#: The same, but for that it does the same.
SAME = {
    "comment": ("def it(x):\n ??\n return x", "# one", "# another\n\n"),
    "docstring": ("def it(x):\n '??'\n return x", "One.", "Another."),
    "annotation": ("def it(x??): return x", "", ": int"),
    "global that is not read": ("K = ??\ndef it(x): return x", "1", "2"),
    "global called like an attribute": ("sin = ??\nit = lambda x: x.sin()", "1", "2"),
    "log": ("LOG = [??]\ndef it(x):\n LOG.append(x)\n return x", "", "1"),
    "rest of a module": (
        "M = types.ModuleType('m'); M.k, M.other = 1, ??\nit = lambda x: x * M.k",
        *("1", "2"),
    ),
    "order of a set": ("it = {??}", "'a', 'b', 'c'", "'c', 'b', 'a'"),
    "worked out": (
        "class A:\n k = 1\n @cached_property\n def f(s): return 2\nit = A()\n??",
        *("", "it.f"),
    ),
}


def both(template, *given):
    return [made(template.replace("??", each)) for each in given]


@pytest.mark.parametrize("kind", OTHERS)
def test_code_that_does_otherwise_is_another(kind):
    one, other = map(value, both(*OTHERS[kind]))
    assert one != other
    assert value(both(*OTHERS[kind])[0]) == one


#: What a library's decorators make of a function of one's own, which goes by its name.
DECORATED = {
    "torch.no_grad()": "",
    "torch.inference_mode()": "",
    "functools.lru_cache": "",
    "functools.singledispatch": "",
    "contextlib.contextmanager": "import contextlib",
    "jaxtyping.jaxtyped(typechecker=None)": "import jaxtyping",
    "beartype.beartype": "import beartype",
    "np.vectorize": "",
}


@pytest.fixture
def mine(monkeypatch):
    """What a module of one's own defines, that can be imported by its name."""

    def define(code):
        module = types.ModuleType("mine")
        monkeypatch.setitem(sys.modules, "mine", module)
        exec(textwrap.dedent(HEAD) + textwrap.dedent(code), vars(module))
        return module.it

    return define


@pytest.mark.parametrize("decorator", DECORATED)
@pytest.mark.parametrize("place", ["function", "method"])
def test_what_is_decorated_is_known_by_what_it_does(mine, decorator, place):
    """In a module of one's own, where a decorator's wrapper is found under the function's name."""
    code = f"{DECORATED[decorator]}\n@{decorator}\ndef it(x):\n return x + ??\n"
    if place == "method":
        body = code.replace("@", " @").replace("def", " def").replace("return", " return")
        code = body.replace(f" @{decorator}", f"class A:\n k = 1\n @{decorator}") + "it = A"
    one, other = (value(mine(code.replace("??", number))) for number in "12")
    assert one != other
    assert value(mine(code.replace("??", "1"))) == one


def test_to_be_copied_or_sent_changes_nothing(mine):
    it = mine("class A:\n k = 1\n def f(s): return s.k\nit = A()")
    before = value(it)
    pickle.dumps(type(it)())
    copy.deepcopy(it)
    assert value(it) == before


@pytest.mark.parametrize("kind", SAME)
def test_code_that_does_the_same_is_the_same(kind):
    one, other = map(value, both(*SAME[kind]))
    assert one == other


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True, eq=False)
class Holding:
    held: object


def linear(bias=0.0):
    layer = nn.Linear(3, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3))
        layer.bias.fill_(bias)
    return layer


def table(middle=0.0):
    values = np.zeros(2001)
    values[1000] = middle
    return xr.DataArray(values, dims="n", coords={"n": range(2001)}, name="x")


#: Values of which no two are the same.
VALUES = {
    "none": None,
    "int": 1,
    "bool": True,
    "float": 1.0,
    "word": "1",
    "bytes": b"1",
    "list": [1],
    "tuple": (1,),
    "set": {1},
    "dict": {"a": 1, "b": 2},
    "dict in another order": {"b": 2, "a": 1},
    "zero": 0.0,
    "negative zero": -0.0,
    "nan": float("nan"),
    "array": np.zeros(3),
    "array of halves": np.zeros(3, np.float32),
    "array, standing": np.zeros((3, 1)),
    "array of whole numbers": np.zeros(3, np.int64),
    "array of objects": np.array([1, "a"], object),
    "scalar of numpy": np.float32(1),
    "tensor": torch.zeros(3),
    "tensor, standing": torch.zeros(3, 1),
    "tensor of whole numbers": torch.zeros(3, dtype=torch.int32),
    "half": torch.zeros(3, dtype=torch.bfloat16),
    "last of a tensor": torch.tensor([0.0, 0, 1]),
    "sparse": torch.tensor([0.0, 0, 2]).to_sparse(),
    "sparse, longer": torch.tensor([0.0, 0, 2, 0]).to_sparse(),
    "module": linear(),
    "module of other weights": linear(1.0),
    "module while training": linear().eval(),
    "DataArray": table(),
    "its middle": table(1e-9),
    "its name": table().rename("y"),
    "its attributes": table().assign_attrs(a=1),
    "its coordinates": table().assign_coords(n=range(1, 2002)),
    "Dataset": table().to_dataset(),
    "frame": pd.DataFrame({"a": range(2001)}),
    "its words": pd.DataFrame({"a": ["x"] * 2001}),
    "index": pd.Index(range(3)),
    "dtype": torch.float32,
    "other dtype": torch.float16,
    "device": torch.device("meta"),
    "enum": Colour.RED,
    "other member": Colour.BLUE,
    "dataclass": Holding(1),
    "of another": Holding(2),
    "of an array": Holding(np.zeros(2000)),
    "where": vl.Where(layers=1),
    "where else": vl.Where(layers=2),
    "generator": np.random.default_rng(0),
    "ufunc": np.sin,
    "other ufunc": np.cos,
}


def test_no_two_values_are_the_same():
    found = {name: value(held) for name, held in VALUES.items()}
    assert len(set(found.values())) == len(found), sorted(found, key=found.__getitem__)
    assert found == {name: value(held) for name, held in VALUES.items()}


def test_a_frame_is_known_in_full():
    def frame(middle):
        return pd.DataFrame({"a": [*range(1000), middle, *range(1000)], "b": "word"})

    assert value(frame(1)) == value(frame(1)) != value(frame(2))


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.data.add_(1),
        lambda x: x.detach().numpy().__setitem__(0, 5),
        lambda x: x.detach().mul_(2),
        lambda x: x.data.copy_(torch.arange(9.0).reshape(3, 3)),
    ],
)
def test_a_tensor_is_read_anew_however_it_was_written_into(write):
    layer = linear()
    before = value(layer)
    write(layer.weight)
    assert value(layer) != before


@pytest.mark.parametrize(
    ("plain", "ways"),
    [
        (torch.ones(1), (torch.ones(3)[::3], torch.ones(1).as_strided((1,), (0,)))),
        (torch.ones(1, 1), (torch.ones(4, 2)[::4, ::2], torch.ones(1).as_strided((1, 1), (0, 0)))),
        (torch.ones(2, 3), (torch.ones(3, 2).T, torch.ones(1).expand(2, 3))),
        (torch.ones(0), (torch.ones(3)[3::2],)),
    ],
    ids=["one number", "one by one", "several", "none"],
)
def test_a_tensor_is_known_by_its_numbers_however_they_lie(plain, ways):
    for own in ways:
        assert value(own) == value(plain)
        assert contents(own) == contents(plain)


def test_a_value_that_holds_itself_ends():
    one, other = [1], [2]
    one.append(one)
    other.append(other)
    assert value(one) == value(one) != value(other)


class Marker:
    pass


@pytest.mark.parametrize("given", [object(), Marker(), (n for n in "a"), sys.stdout])
def test_what_only_an_address_tells_apart_is_refused(given):
    with pytest.raises(DataError, match=r"\(held\) is known by its address alone.* make it a"):
        value(partial(len, Holding(given)))


@pytest.mark.slow
def test_the_same_in_every_process(tmp_path):
    code = HEAD + textwrap.dedent(
        """
        from vlmlens.identity import value, versions
        K = {"a", "b", "c", "d", "e"}
        def helper(x): return x in K or x in {"q", "r", "s", "t"}
        @dataclass(frozen=True)
        class Own(vl.Intervention):
            names: frozenset = frozenset({"x", "y", "z"})
            def edit(self, x, site): return x if helper(x) else x * 0
        with vl.HookedVLM.from_pretrained("shapes-base") as model:
            made = value((Own("hook_embed"), {"u": {"v", "w"}}, model, partial(helper)))
        print(made, versions())
        """
    )
    said = set()
    for seed in ("0", "1"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": seed, "TQDM_DISABLE": "1"}
        environment["PYTHONPATH"] = str(Path(vl.__file__).parents[1])
        said.add(ran(sys.executable, "-", input=code, cwd=folder, env=environment).stdout)
    assert len(said) == 1


def test_a_file_of_ones_own_is_read_as_deep_as_it_is_used(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def of(helper, other="1"):
        (tmp_path / "mine_low.py").write_text(
            f"def f(x): return {helper}\ndef g(x): return {other}\n"
        )
        (tmp_path / "mine_high.py").write_text(
            "import mine_low\ndef it(x):\n    from mine_low import f\n    return mine_low.f(f(x))\n"
        )
        for name in ("mine_low", "mine_high"):
            sys.modules.pop(name, None)
        import mine_high  # pyright: ignore[reportMissingImports]

        return value(mine_high.it)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert of("x") == of("x", other="2")
    assert of("x") != of("-x")


def test_a_librarys_code_that_was_replaced_counts(monkeypatch):
    layer = nn.GELU()
    before = value(layer)
    monkeypatch.setattr(nn.GELU, "forward", lambda self, x: x)
    assert value(layer) != before


@pytest.mark.parametrize(
    "code",
    [
        "K = 1\ndef it(x): return x * globals()['K']",
        "def it(x): return eval('x * 2')",
        "def it(x): exec('x = 2')",
        "def it(x): return [globals()['K'] for _ in x]",
        "class it:\n def run(self, x): return eval(x)",
        "def other(x): return eval(x)\ndef it(x): return other(x)",
    ],
)
def test_what_is_read_only_as_code_runs_is_refused(code):
    with pytest.raises(DataError, match=r"is known only as it runs"):
        value(made(code))


def test_a_name_of_ones_own_is_no_builtin():
    assert value(made("def eval(x): return x\ndef it(x): return eval(x)"))


def test_what_is_added_to_a_model_counts():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        before = value(model)
        _ = model.rope, model.run(model.inputs_from(torch.tensor([[41, 42]])))
        assert value(model) == before
        model.strength = 2.0
        two = value(model)
        model.strength = 3.0
        assert len({before, two, value(model)}) == 3
