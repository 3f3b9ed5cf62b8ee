"""vlmlens beside other libraries: one file or folder each, imported when it is asked for.

``nnsight`` and ``native`` need the extra ``vlmlens[nnsight]``: the first traces a model that is
open here, the second is for models on a server. ``transformer_lens`` makes a bridge. ``sae`` reads
SAELens's files, and needs nothing more.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "sae":
        from importlib import import_module

        return import_module("vlmlens.interop.sae")
    raise AttributeError(
        f"module 'vlmlens.interop' has no attribute {name!r}; import vlmlens.interop.nnsight, "
        "native or transformer_lens by name; sae is here"
    )
