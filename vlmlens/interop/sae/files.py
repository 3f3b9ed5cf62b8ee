"""SAELens's folders, ``cfg.json`` beside ``sae_weights.safetensors``, without SAELens."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vlmlens.checks import shown
from vlmlens.errors import DataError, InputError, UnknownModelError
from vlmlens.interop.sae.dictionary import SAE, Settings, shapes

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
#: Models whose dictionary comes with the package.
BUNDLED = ("shapes-base",)
#: What a configuration may hold, by SAELens's names; of the first, only some settings are computed
#: here. Heads of hook_z are put side by side where a dictionary is spliced in.
_ONLY = {"normalize_activations": ("none",), "reshape_activations": ("none", "hook_z")}
_READ = ("architecture", "d_in", "d_sae", "d_out", "k", "apply_b_dec_to_input")
_KNOWN = (*_READ, *_ONLY, "rescale_acts_by_decoder_norm", "dtype", "device", "metadata")


def load(source: Path | str) -> SAE:
    """A dictionary from a folder that SAELens wrote, or one that comes with vlmlens.

    What its ``cfg.json`` says is honoured, or refused by name. Pre-trained ones of the hub, and
    architectures that are not known here, are opened with SAELens; its objects are spliced in as
    they are.

    Args:
        source: a folder with ``cfg.json`` and ``sae_weights.safetensors``; or ``"shapes-base"``.

    Raises:
        UnknownModelError: no such folder, and no bundled name.
        InputError: an architecture or an option that is not known here, or weights that do not fit.
        DataError: a file that cannot be read.

    Examples:
        >>> found = vl.interop.sae.load("shapes-base")
        >>> found.settings.d_sae, found.point
        (512, 'blocks.2.hook_resid_post')
        >>> vl.interop.sae.load("shapes-bsae")
        Traceback (most recent call last):
        vlmlens.errors.UnknownModelError: no model 'shapes-bsae'; did you mean shapes-base...
    """
    folder = Path(source)
    if str(source) in BUNDLED:
        folder = Path(str(files("vlmlens.interop.sae"))) / str(source)
    if not (folder / CONFIG).is_file():
        raise UnknownModelError(str(source), BUNDLED, f"and no folder that holds {CONFIG}")
    try:
        told = json.loads((folder / CONFIG).read_text())
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{folder} cannot be read as a folder of SAELens: {error}") from error
    settings = settings_of(told)
    dtype = getattr(torch, str(told.get("dtype", "float32")).removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype):
        raise InputError(f"dtype={shown(told['dtype'])} in {folder / CONFIG} is no dtype of torch")
    return SAE(settings, {name: x.to(dtype) for name, x in weights.items()})


def save(sae: SAE, folder: Path | str, *, dtype: torch.dtype | None = None, **told: Any) -> Path:
    """Write a dictionary as SAELens does, so that SAELens opens it, too.

    Args:
        sae: the dictionary.
        folder: where to.
        dtype: of the file; by default as it is. It is computed with as it is here, either way.
        told: what else the file should say of it; kept under ``metadata``.

    Returns:
        The folder.

    Examples:
        >>> found = vl.interop.sae.load("shapes-base")
        >>> again = vl.interop.sae.load(vl.interop.sae.save(found, "mine"))
        >>> torch.equal(found.W_enc, again.W_enc), again
        (True, SAE(topk, 128 -> 512 at blocks.2.hook_resid_post))
    """
    own, folder = sae.settings, Path(folder)
    used = next(iter(sae.parameters())).dtype
    metadata: dict[str, Any] = {"hook_name": own.reads or own.point or None} | told
    if own.reads not in ("", own.point):
        metadata["hook_name_out"] = own.point
    config: dict[str, Any] = {
        "architecture": own.architecture,
        "d_in": own.d_in,
        "d_sae": own.d_sae,
        "apply_b_dec_to_input": own.centred,
        "dtype": str(used).removeprefix("torch."),
        "device": "cpu",
        "normalize_activations": "none",
        "reshape_activations": "hook_z"
        if str(metadata["hook_name"]).endswith("hook_z")
        else "none",
        "metadata": metadata,
    }
    if own.architecture == "topk":
        config |= {"k": own.k, "rescale_acts_by_decoder_norm": own.by_norm}
    if "transcoder" in own.architecture:
        config["d_out"] = own.d_out
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: x.detach().to(dtype or used).contiguous() for name, x in _weights(sae)}
    save_file(weights, folder / WEIGHTS)
    return folder


def settings_of(told: Mapping[str, Any]) -> Settings:
    """What a configuration of SAELens says, all of it.

    Raises:
        InputError: an option that is not known here, or that is set to what is not.
    """
    if unknown := sorted(set(told) - set(_KNOWN)):
        raise InputError(
            f"{CONFIG} says {', '.join(unknown)}, which vlmlens does not know and will not "
            "ignore: open the dictionary with SAELens (6 or later writes what is known here), and "
            "splice its object in"
        )
    if missing := sorted({"architecture", "d_in", "d_sae"} - set(told)):
        raise InputError(f"{CONFIG} does not say {', '.join(missing)}")
    for name, only in _ONLY.items():
        if told.get(name, only[0]) not in only:
            raise InputError(
                f"{CONFIG} says {name}={told[name]!r}, which is not computed here: open the "
                "dictionary with SAELens, and splice its object in"
            )
    of_topk = told["architecture"] == "topk"
    if not of_topk and told.get("rescale_acts_by_decoder_norm"):
        raise InputError(f"rescale_acts_by_decoder_norm is of topk, not {told['architecture']!r}")
    metadata = told.get("metadata") or {}
    reads = metadata.get("hook_name") or ""
    point = metadata.get("hook_name_out") or reads
    transcodes = "transcoder" in str(told["architecture"])
    return Settings(
        told["architecture"],
        told["d_in"],
        told["d_sae"],
        told.get("d_out", told["d_in"]),
        # SAELens's own defaults, where a file leaves them out.
        told.get("k", 100) if of_topk else 0,
        told.get("apply_b_dec_to_input", not transcodes),
        told.get("rescale_acts_by_decoder_norm", False),
        point,
        reads,
    )


def _weights(sae: SAE) -> list[tuple[str, Any]]:
    return [(name, getattr(sae, name)) for name in shapes(sae.settings)]
