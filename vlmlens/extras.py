"""Libraries that only some need: which extra brings each, and what is said where one is missing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import vlmlens
from vlmlens.errors import MissingToolError

#: Module -> what it is called where packages are, and the extra of vlmlens that brings it.
EXTRAS = {
    "sklearn": ("scikit-learn", "probes"),
    "num2words": ("num2words", "smolvlm"),
    "av": ("av", "video"),
    "kaleido": ("kaleido", "png"),
    "gguf": ("gguf", "smol"),
    "onnx": ("onnx", "smol"),
    "nnsight": ("nnsight", "nnsight"),
    "ray": ("ray", "ray"),
    "starlette": ("starlette", "app"),
    "uvicorn": ("uvicorn", "app"),
    "websockets": ("websockets", "app"),
    "peft": ("peft", "adapters"),
}

#: Our distributions -> where a clone has each.
HERE = {"vlmlens": ".", "vlmlens-models": "vlmlens/zoo/weights"}


def command(package: str, extra: str = "") -> str:
    """The command that installs a part of vlmlens the way that vlmlens itself was installed.

    Args:
        package: of ``HERE``.
        extra: of ``package``.

    Returns:
        From the clone where vlmlens comes from one, and otherwise by name.
    """
    clone, editable = _clone()
    options = f"[{extra}]" if extra else ""
    if clone is None:
        return f'pip install "{package}{options}"' if extra else f"pip install {package}"
    flag = "-e " if editable and package == "vlmlens" else ""
    return f'pip install {flag}"{clone / HERE[package]}{options}"'


def _clone() -> tuple[Path | None, bool]:
    """The clone that vlmlens was installed from, and whether its files are those that run."""
    tree = Path(vlmlens.__file__).parents[1]
    if (tree / "pyproject.toml").is_file() and (tree / HERE["vlmlens-models"]).is_dir():
        return tree, True
    try:
        told = json.loads(distribution("vlmlens").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None, False
    folder = Path(url2pathname(urlsplit(told.get("url", "")).path))
    there = "dir_info" in told and (folder / HERE["vlmlens-models"]).is_dir()
    return (folder, False) if there else (None, False)


def missing(module: str, what: str, instead: str = "") -> MissingToolError:
    """The error that says which library something needs, and how to install it.

    Args:
        module: of ``EXTRAS``.
        what: needs it.
        instead: what goes without it, or what was left undone.
    """
    package, extra = EXTRAS[module]
    return MissingToolError(
        f"{what} needs {package}, which is not installed: {command('vlmlens', extra)}"
        + (f"; {instead}" if instead else "")
    )


def require(module: str, what: str, instead: str = "") -> None:
    """Refuse to begin without a library.

    Args:
        module: of ``EXTRAS``.
        what: needs it.
        instead: what goes without it, or what was left undone.

    Raises:
        MissingToolError: it is not installed.
    """
    if find_spec(module) is None:
        raise missing(module, what, instead)


@contextmanager
def naming_extra(what: str) -> Iterator[None]:
    """Say which extra it takes where another library, or an import, asks for one of ours.

    Args:
        what: needs it.

    Raises:
        MissingToolError: in the place of an ``ImportError`` that names a module of ``EXTRAS``.
    """
    try:
        yield
    except ImportError as error:
        said = str(error)
        for module in EXTRAS:
            if error.name == module or f"`{module}`" in said:
                raise missing(module, what) from error
        raise
