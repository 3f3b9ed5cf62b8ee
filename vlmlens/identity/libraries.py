"""What belongs to an installed library, known by its name and version, and what is one's own."""

import re
import sys
import sysconfig
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vlmlens.identity.digests import digest

#: Those that decide over every number.
DECISIVE = ("torch", "transformers", "transformer_lens", "numpy")
#: A version but for its patch.
MINOR = re.compile(r"\d+\.\d+(?![\d])")
#: What models, processors and their settings write down of where they came from and of what they
#: did last: none of it changes a result, and all of it differs from one process to the next.
NOTES = frozenset(
    {
        *("_commit_hash", "_name_or_path", "name_or_path", "transformers_version", "vocab_file"),
        *("init_kwargs", "init_inputs", "deprecation_warnings", "_original_object_hash"),
        *("_is_hf_initialized", "warnings_issued", "rope_deltas", "_hf_hook", "_auto_class"),
        "_output_capturing_hooks_installed",
        "_digest",
    }
)


def owner(thing: Any) -> str:
    """The module that a function, a class or an object's class says it is from."""
    return getattr(thing, "__module__", None) or getattr(type(thing), "__module__", None) or ""


def is_library(module: str) -> bool:
    """Whether a module, by its name, is Python's, vlmlens's or of an installed package.

    Installed is what lies in a folder that holds packages' metadata, as pip leaves it. Scripts,
    notebooks, and packages that are edited where they lie, are one's own.
    """
    return _is_library(module.partition(".")[0])


@lru_cache(maxsize=4096)
def _is_library(top: str) -> bool:
    if top == "vlmlens" or top in sys.builtin_module_names:
        return True
    if top in ("__main__", "__mp_main__", ""):
        return False
    file = _file(top)
    if file is None:
        return top in sys.stdlib_module_names
    standard = Path(sysconfig.get_path("stdlib"))
    home = file.parent.parent if file.stem == "__init__" else file.parent
    return home == standard or standard in home.parents or _holds_packages(home)


@lru_cache(maxsize=256)
def _holds_packages(folder: Path) -> bool:
    return next(folder.glob("*.dist-info"), None) is not None


def _file(top: str) -> Path | None:
    found = getattr(sys.modules.get(top), "__file__", None)
    if found is None and top not in sys.modules:
        try:
            spec = find_spec(top)
        except (ImportError, ValueError):
            return None
        found = spec.origin if spec is not None and spec.has_location else None
    return None if found is None else Path(found).resolve()


def version(module: str) -> str:
    """The version of the library that a module is of; "" where it says none."""
    top = module.partition(".")[0]
    if top == "vlmlens":
        return vlmlens_version()
    return _version(top)


def vlmlens_version() -> str:
    """Our version, and a hash of our own code: it may be edited where it lies."""
    import vlmlens

    return f"{vlmlens.__version__} {_sources()}"


@lru_cache(maxsize=1)
def _sources() -> str:
    home = Path(__file__).resolve().parents[1]
    files = sorted(path for path in home.rglob("*.py"))
    return digest(*(part for file in files for part in (file.name.encode(), file.read_bytes())))


def _version(top: str) -> str:
    said = getattr(sys.modules.get(top), "__version__", None)
    return said if isinstance(said, str) else _installed(top)


def _installed(top: str) -> str:
    try:
        return metadata.version(top)
    except (metadata.PackageNotFoundError, ValueError):
        return ""


def versions() -> str:
    """The versions of the libraries that decide over every number, ours among them.

    Examples:
        >>> from vlmlens.identity import versions
        >>> versions().startswith("vlmlens ")
        True
    """
    return told(decisive())


def decisive() -> dict[str, str]:
    """The libraries that decide over every number, and their versions.

    Examples:
        >>> from vlmlens.identity import decisive
        >>> list(decisive())
        ['vlmlens', 'torch', 'transformers', 'transformer_lens', 'numpy']
    """
    return {"vlmlens": vlmlens_version()} | {
        name: f"{_version(name)} {_installed(name)}" for name in DECISIVE
    }


def told(libraries: Mapping[str, str]) -> str:
    """Libraries and their versions, in a line.

    Examples:
        >>> from vlmlens.identity import told
        >>> told({"torch": "2.13.1", "numpy": "2.4.0"})
        'torch 2.13.1, numpy 2.4.0'
    """
    return ", ".join(f"{name} {version}" for name, version in libraries.items())


def but_for_patches(libraries: Mapping[str, str]) -> dict[str, str]:
    """The same, without what a patch changes: of 2.13.1+cpu and 2.13.0 the versions are 2.13.

    Examples:
        >>> from vlmlens.identity import but_for_patches
        >>> but_for_patches({"torch": "2.13.1+cpu 2.13.1", "mine": "new"})
        {'torch': '2.13', 'mine': 'new'}
    """
    found = {name: MINOR.match(version) for name, version in libraries.items()}
    return {name: each[0] if each else libraries[name] for name, each in found.items()}
