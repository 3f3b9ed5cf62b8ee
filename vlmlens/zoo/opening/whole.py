"""Whether an opened model is all of its checkpoint, and the checkpoint what was published."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vlmlens.errors import UnsupportedModelError
from vlmlens.zoo.opening.homes import BESIDE, HASHES, own, published

#: Buffers that older versions saved, and that models compute by themselves.
COMPUTED = re.compile(r"(inv_freq|position_ids|num_batches_tracked|masked_bias|attn\.bias)$")


def refuse_half(name: str, opened: Any, report: Any) -> None:
    """Refuse a checkpoint that lacks weights, or holds some that the model does not take.

    Args:
        name: what messages call it.
        opened: the model.
        report: what ``from_pretrained(output_loading_info=True)`` says of it.

    Raises:
        UnsupportedModelError: says which weights.
    """
    own = dict(opened.named_parameters(remove_duplicate=False)) | dict(opened.named_buffers())
    missing = {key for key in report["missing_keys"] if not COMPUTED.search(key)}
    there = {id(value) for key, value in own.items() if key not in missing}
    missing = {key for key in missing if id(own.get(key)) not in there}  # tied to one that is there
    for what, keys in (
        ("lacks the weights", missing),
        ("holds weights that its config.json has no place for", report["unexpected_keys"]),
        ("holds weights of other shapes than its config.json says", report["mismatched_keys"]),
    ):
        names = sorted(key if isinstance(key, str) else str(key[0]) for key in keys)
        names = [key for key in names if not COMPUTED.search(key)]
        if names:
            raise UnsupportedModelError(
                f"{name} {what} {listed(names)}: transformers would go on with random or without "
                "these weights. Get the whole checkpoint and its own config.json; or, if it is "
                "meant to be so, open it with transformers and pass the model: "
                "HookedVLM(model, processor)"
            )


def refuse_unread(folder: Path) -> None:
    """Refuse a generation_config.json that transformers would leave out without a word.

    Raises:
        UnsupportedModelError: it is there, and holds no settings.
    """
    file = folder / "generation_config.json"
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        found = error
    if not isinstance(found, dict):
        raise UnsupportedModelError(
            f"{file} does not open ({found}), and answers would be decoded without its settings: "
            "get it anew, or take it away to decode by transformers' own"
        )


def refuse_changed(folder: Path, wanted: dict[str, str], what: str) -> None:
    """Refuse files that are not, to the byte, what was published.

    Args:
        folder: where they are.
        wanted: sha256 by name.
        what: to do about it.

    Raises:
        UnsupportedModelError: names those that are not.
    """
    changed = [name for name, hashed in wanted.items() if sha256(folder / name) != hashed]
    if changed:
        raise UnsupportedModelError(
            f"{', '.join(changed)} in {folder} changed since this was published: {what}"
        )


def refuse_changed_bundle(folder: Path) -> None:
    """Refuse bundled weights that are not those of this version.

    Raises:
        UnsupportedModelError: names them.
    """
    package = "vlmlens" if folder.parent == own() else BESIDE
    wanted = published().get(folder.name, {})
    refuse_changed(folder, wanted, f"install {package} again")


def sha256(path: Path) -> str:
    """Of a file; nothing for one that is not there."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_hashes(home: Path) -> None:
    """Write anew what the bundled weights are, once they were made anew."""
    made = {
        folder.name: {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
        for folder in sorted(home.iterdir())
        if folder.is_dir()
    }
    (home / HASHES).write_text(json.dumps(made, indent=1) + "\n")


def listed(names: Iterable[str]) -> str:
    """A few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
