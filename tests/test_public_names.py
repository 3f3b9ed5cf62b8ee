"""The public page is true, and every table lists every file of its folder."""

import ast
import importlib
import inspect
import pkgutil

import pytest
from children import python

import vlmlens
from vlmlens.datasets import DATASETS
from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.errors import VLMLensError
from vlmlens.families import FAMILIES
from vlmlens.families.family import Family
from vlmlens.graders import GRADERS
from vlmlens.interventions import INTERVENTIONS, Intervention
from vlmlens.plots import PLOTS
from vlmlens.probes import PROBES
from vlmlens.zoo.variants import VARIANTS

#: Folder -> its table, and the files that are no members but what members share. Where the members
#: lie in a folder of their own, ``HOMES`` says which.
TABLES = {
    "families": (
        FAMILIES,
        {"around", "blocks", "family", "frames", "geometry", "language_models", "towers"},
    ),
    "interventions": (INTERVENTIONS, {"base", "own", "designs", "prepare", "stored", "vision"}),
    "probes": (PROBES, {"graded", "grids", "labels", "statistics", "steps", "rotating"}),
    "datasets": (
        DATASETS,
        {"benchmarks", "cutouts", "draw", "fetching", "files", "linked", "reading", "tables"},
    ),
    "zoo.variants": (VARIANTS, set()),
    "plots": (PLOTS, set()),
}
HOMES = {"zoo.variants": "zoo.variants.additions", "plots": "plots.figures"}


@pytest.mark.parametrize("name", vlmlens.__all__)
def test_every_public_name_is_there(name):
    found = getattr(vlmlens, name)
    assert found is not None
    assert name in dir(vlmlens)
    assert inspect.getdoc(found), f"{name} says nothing of itself"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="HookedVLM"):
        vlmlens.HookedVML  # noqa: B018
    with pytest.raises(ImportError):
        from vlmlens import nothing  # noqa: F401


def test_type_checkers_see_the_same_names():
    """The names under TYPE_CHECKING are those that ``__getattr__`` knows."""
    (block,) = [
        node for node in ast.parse(inspect.getsource(vlmlens)).body if isinstance(node, ast.If)
    ]
    seen = [name.name for node in block.body for name in node.names]
    assert sorted(seen) == sorted(vlmlens.__all__)


@pytest.mark.parametrize("folder", TABLES)
def test_every_table_lists_every_file_of_its_folder(folder):
    table, shared = TABLES[folder]
    home = HOMES.get(folder, folder)
    package = importlib.import_module(f"vlmlens.{home}")
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert shared <= files
    for name in files - shared:
        module = importlib.import_module(f"vlmlens.{home}.{name}")
        own = [
            value
            for value in table.values()
            if any(value is other for other in vars(module).values())
        ]
        assert own, f"{home}/{name}.py is in no table: add it to vlmlens/{folder}/__init__.py"


@pytest.mark.parametrize("folder", TABLES)
def test_every_member_is_exported_by_its_folder(folder):
    table, _ = TABLES[folder]
    package = importlib.import_module(f"vlmlens.{folder}")
    assert table, folder
    for name, member in table.items():
        assert inspect.getdoc(member), name
        if not isinstance(member, Family):
            assert member.__name__ in package.__all__, name
            assert getattr(package, member.__name__) is member
    for name in package.__all__:
        assert hasattr(package, name), name


PACKAGES = [
    module.name
    for module in pkgutil.walk_packages(vlmlens.__path__, "vlmlens.")
    if module.ispkg and not module.name.endswith(".__main__")
]


@pytest.mark.parametrize("name", PACKAGES)
def test_no_public_name_hides_a_module(name):
    """``from vlmlens.plots import heads`` is a function, and no file is called the same."""
    package = importlib.import_module(name)
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    hidden = {each for each in files if not inspect.ismodule(getattr(package, each, package))}
    assert not hidden, f"in {name}, these are both a module and something else"


def test_the_table_of_published_sets_lists_every_file():
    package = importlib.import_module("vlmlens.datasets.benchmarks")
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    spelt = {"2ds": "two_ds"}  # no module's name begins with a digit
    named = {spelt.get(name, name.replace("-", "_")) for name in BENCHMARKS}
    shared = {
        "benchmark",
        "faulty",
        "letters",
        "manifest",
        "metrics",
        "scene_graphs",
        "source",
        "sums",
        "where",
    }
    assert files - shared == named
    assert {found.grader for found in BENCHMARKS.values()} <= {*GRADERS, "none"}


def test_every_tiny_family_is_listed():
    package = importlib.import_module("vlmlens.zoo.tiny.families")
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert files == {name.partition("/")[0] for name in package.TINY}


def test_tables_call_things_by_their_names():
    assert all(name == family.model_type for name, family in FAMILIES.items())
    assert all(name == kind.__name__ for name, kind in INTERVENTIONS.items())
    assert all(name == probe.__name__ for name, probe in PROBES.items())
    assert all(name == plot.__name__ for name, plot in PLOTS.items())
    assert all(issubclass(kind, Intervention) for kind in INTERVENTIONS.values())


def test_every_error_of_ours_has_one_root():
    module = importlib.import_module("vlmlens.errors")
    kinds = [kind for kind in vars(module).values() if inspect.isclass(kind)]
    kinds = [kind for kind in kinds if kind.__module__ == module.__name__]
    assert len(kinds) > 5
    assert all(issubclass(kind, VLMLensError) for kind in kinds)
    assert all(kind.__name__ in (module.__doc__ or "") for kind in kinds), (
        "the tree on the page is whole"
    )


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, vlmlens; dir(vlmlens); vlmlens.__version__; vlmlens.VLMLensError;"
        "print(*[m for m in ('torch', 'transformers', 'transformer_lens', 'xarray', 'plotly',"
        " 'numpy', 'PIL') if m in sys.modules])"
    )
    done = python(code)
    assert done.stdout.split() == []
