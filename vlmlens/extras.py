"""Libraries that only some need: which extra brings each, and what is said where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from vlmlens.errors import MissingToolError

#: Module -> what it is called where packages are, and the extra of vlmlens that brings it.
EXTRAS = {
    "sklearn": ("scikit-learn", "probes"),
    "num2words": ("num2words", "smolvlm"),
    "kaleido": ("kaleido", "png"),
    "gguf": ("gguf", "smol"),
    "onnx": ("onnx", "smol"),
    "nnsight": ("nnsight", "nnsight"),
    "ray": ("ray", "ray"),
}


def missing(module: str, what: str, instead: str = "") -> MissingToolError:
    """The error that says which library something needs, and how to install it.

    Args:
        module: of ``EXTRAS``.
        what: needs it.
        instead: what goes without it, or what was left undone.
    """
    package, extra = EXTRAS[module]
    return MissingToolError(
        f'{what} needs {package}, which is not installed: pip install "vlmlens[{extra}]" (in a '
        f'clone: pip install ".[{extra}]")' + (f"; {instead}" if instead else "")
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
