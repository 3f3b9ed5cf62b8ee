"""Checkpoints: a bundled name, a folder or a hub name in; a model and its processor out."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from vlmlens.annotations import checked
from vlmlens.checks import found_at
from vlmlens.errors import UnknownModelError, UnsupportedModelError
from vlmlens.picture import at_home
from vlmlens.zoo.opening import adapters, homes
from vlmlens.zoo.opening.hashing import hashed
from vlmlens.zoo.opening.hub import REACH, pinned, refuse_revision, refuse_unreached, telling

__all__ = ["bundled", "configuration", "find", "load", "revision"]

#: Options that say where the hub's files are, and which.
HUB = ("revision", "token", "cache_dir", "local_files_only", "trust_remote_code")


def bundled() -> dict[str, Path]:
    """The folders of the models that come with vlmlens, and with vlmlens-models, by name.

    Examples:
        >>> "shapes-base" in vl.zoo.bundled()
        True
    """
    return homes.kept("config.json")


@checked
def find(model: str | Path) -> str:
    """Where a model is: its folder, or its id on the hub, which is not asked.

    Raises:
        UnknownModelError: no name, no folder and nothing like an id on the hub.
        UnfetchedModelError: a model that ``vlmlens fetch`` or vlmlens-models brings, and has not
            brought yet.

    Examples:
        >>> from pathlib import Path
        >>> Path(vl.zoo.find("shapes-base")).name, vl.zoo.find("llava-hf/llava-1.5-7b-hf")
        ('shapes-base', 'llava-hf/llava-1.5-7b-hf')
    """
    source, here = _folder(model), bundled()
    if found_at(source) != "folder":
        if _like_hub_id(str(model)):
            return str(model)
        raise UnknownModelError(
            str(model),
            sorted({*here, *homes.published()}),
            "(bundled or fetched names); or give a folder, or a hub id such as owner/name",
        )
    if not any((source / settings).is_file() for settings in ("config.json", adapters.SETTINGS)):
        raise UnknownModelError(str(model), here, f"({source} is a folder without config.json)")
    return str(source)


@checked
def load(model: str | Path, *, dtype: Any = "auto", **options: Any) -> tuple[Any, Any]:
    """Open a model and its processor with transformers' own classes.

    Args:
        model: a bundled or fetched name, a folder, or a hub id; also in the layout of LLaVA's own
            code (``vlmlens.zoo.opening.original_llava``), and an adapter as peft saves it.
        dtype: of the weights; ``"auto"`` as they were saved.
        options: passed on to ``from_pretrained``.

    Raises:
        UnknownModelError: none of these, and nothing that the hub knows.
        UnreachableError: the hub is out of reach, or does not give it to this user.
        UnfetchedModelError: a model that ``vlmlens fetch`` or vlmlens-models brings, and has not
            brought yet.
        UnsupportedModelError: a model that transformers does not open as image-text-to-text.
        MissingToolError: an adapter, without peft.
        InputError: a dtype that does not exist, or a revision of what lies in a folder.

    Examples:
        >>> hf_model, processor = vl.zoo.load("shapes-base")
        >>> type(hf_model).__name__, type(processor).__name__
        ('LlavaForConditionalGeneration', 'LlavaProcessor')
    """
    from vlmlens.zoo.opening.askable import as_part, refuse_no_dtype, refuse_no_vlm
    from vlmlens.zoo.opening.whole import refuse_changed_bundle, refuse_unread

    refuse_no_dtype(dtype)
    options.pop("output_loading_info", None)  # what it says is looked at here
    here, name = bundled(), find(model)
    source = _folder(model)
    is_folder = found_at(source) == "folder"
    hub = {key: options[key] for key in HUB if key in options}
    if is_folder:
        refuse_revision(model, options)
    else:
        found = _pinned(model, name, hub)
        options |= (pin := {"revision": found.parent.name})
        hub |= pin
        if found.name == adapters.SETTINGS:
            source = _fetched(name, adapters.WANTED, hub)
    if base := adapters.base_of(source):
        return _adapted(str(model), source, base, dtype, options, hub)
    config = _configured(model, name, hub)
    if config is None:
        return _original(source if is_folder else None, name, dtype, options, hub)
    refuse_no_vlm(model, config, bool(options.get("trust_remote_code")))
    if source in here.values():
        refuse_changed_bundle(source)
    if is_folder:
        refuse_unread(source)
    opened = _weights(model, name, dtype, as_part(config) | options)
    opened.config._commit_hash = None if is_folder else hub["revision"]
    return opened, _processor(model, name, config.model_type, hub)


@checked
def configuration(model: str | Path, **hub: Any) -> Any:
    """The configuration of a model, of which nothing else has to be there.

    Args:
        model: as in ``load``.
        hub: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, ``trust_remote_code``.

    Raises:
        UnknownModelError: no such model.
        UnreachableError: the hub is out of reach, or does not give it to this user.
        UnsupportedModelError: no configuration of a vision-language model.
        InputError: a revision of what lies in a folder.

    Examples:
        >>> vl.zoo.configuration("shapes-base").text_config.num_hidden_layers
        4
    """
    from vlmlens.zoo.opening.askable import refuse_no_vlm

    name = find(model)
    if found_at(name) == "folder":
        refuse_revision(model, hub)
    if base := adapters.base_of(Path(name)):
        return configuration(base, **hub)
    found = _configured(model, name, hub)
    if found is None:
        from vlmlens.zoo.opening import original_llava

        folder = Path(name) if Path(name).is_dir() else _pinned(model, name, hub).parent
        return original_llava.configuration(folder, {k: hub[k] for k in REACH[1:] if k in hub})
    refuse_no_vlm(model, found, bool(hub.get("trust_remote_code")))
    return found


@checked
def revision(model: str, opened: Any) -> str:
    """Which version of a model this is: the hub's commit, or a hash of its folder's files.

    Every file counts that can be part of how it is opened, by its name and all of its contents.

    Examples:
        >>> len(vl.zoo.revision("shapes-base", model.hf_model))
        16
    """
    commit = getattr(opened.config, "_commit_hash", None)
    if commit:
        return commit
    return hashed(_folder(model))


def _adapted(
    model: str, source: Path, base: str, dtype: Any, options: dict[str, Any], hub: dict[str, Any]
) -> tuple[Any, Any]:
    """An adapter's model with the adapter on, and whichever processor is the nearer."""
    others = {key: value for key, value in options.items() if key != "revision"}
    if found_at(_folder(base)) != "folder":
        others |= adapters.base_revision(source)
    try:
        opened, processor = load(base, dtype=dtype, **others)
    except UnknownModelError as error:
        raise UnsupportedModelError(
            f"{model} is an adapter of {base}, which is not there ({error}): put that model there, "
            f"or write where it is into {source / adapters.SETTINGS}"
        ) from error
    below = revision(base, opened)
    opened = adapters.put_on(opened, source, model)
    if adapters.own_processor(source):
        processor = _processor(model, str(source), opened.config.model_type, {})
    own = hub["revision"] if found_at(_folder(model)) != "folder" else hashed(source)
    opened.config._commit_hash = f"{below} with {own}"
    return opened, processor


def _pinned(model: str | Path, name: str, hub: dict[str, Any]) -> Path:
    """The settings of a hub's model, in a folder that is called after the commit it is now."""
    try:
        with telling(str(model), bundled(), **hub):
            return pinned(name, **hub)
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{model} does not open as a model: {error}") from error


def _configured(model: str | Path, name: str, hub: dict[str, Any]) -> Any:
    """A configuration; None for one of LLaVA's own code."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, PreTrainedConfig

    import vlmlens.zoo.variants  # noqa: F401  model types of our own
    from vlmlens.zoo.opening import askable, original_llava

    try:
        with telling(str(model), bundled(), **hub):
            if not Path(name).exists():
                refuse_unreached(name, **hub)
            settings, _ = PreTrainedConfig.get_config_dict(name, **hub)
            if original_llava.is_original(settings):
                return None
            return askable.thinker(AutoConfig.from_pretrained(name, **hub))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{model} does not open as a model: {error}") from error
    except (AttributeError, TypeError, KeyError, StrictDataclassError) as error:
        raise UnsupportedModelError(
            f"{model} does not open as a model: its config.json is no configuration ({error})"
        ) from error


def _weights(model: str | Path, name: str, dtype: Any, options: dict[str, Any]) -> Any:
    """The model with its weights, all of them."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    from vlmlens.zoo.opening.whole import refuse_half

    try:
        with telling(str(model), bundled(), **options):
            made: Any = AutoModelForImageTextToText.from_pretrained(
                name, dtype=dtype, output_loading_info=True, **options
            )
        opened, report = made
    except (OSError, SafetensorError) as error:
        raise UnsupportedModelError(f"{model} has no weights that open: {error}") from error
    except UnpicklingError as error:  # whose text says how to open it all the same
        raise UnsupportedModelError(
            f"{model} has no weights that open: they are a pickle that holds more than tensors, "
            "which may be code; get the checkpoint as safetensors"
        ) from error
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, ImportError, KeyError, AttributeError) as error:
        raise UnsupportedModelError(f"transformers does not open {model}: {error}") from error
    refuse_half(str(model), opened, report)
    return opened


def _processor(model: str | Path, name: str, model_type: str, hub: dict[str, Any]) -> Any:
    from vlmlens.zoo.opening.processors import open_processor

    try:
        with telling(str(model), bundled(), **hub):
            return open_processor(name, model_type, **hub)
    except (OSError, ValueError, ImportError, TypeError, AttributeError, KeyError) as error:
        raise UnsupportedModelError(
            f"{model} has weights but no processor that opens ({error}); save one beside them, or "
            "wrap the model yourself: HookedVLM(model), and use inputs_from(...)"
        ) from error


def _original(folder: Path | None, name: str, dtype: Any, options: dict, hub: dict) -> Any:
    """A checkpoint in the layout of LLaVA's own code, from a folder or, where None, the hub."""
    from vlmlens.zoo.opening import original_llava

    own = {key: value for key, value in options.items() if key not in hub}
    reach = {key: value for key, value in hub.items() if key != "revision"}
    if folder is not None:
        return original_llava.load(folder, dtype=dtype, hub=reach, **own)
    fetched = _fetched(name, ("*.json", "*.safetensors", "*.bin", "tokenizer.model"), hub)
    opened, processor = original_llava.load(fetched, dtype=dtype, hub=reach, **own)
    opened.config._commit_hash = fetched.name  # the hub keeps a snapshot under its commit
    return opened, processor


def _fetched(name: str, wanted: tuple[str, ...], hub: dict[str, Any]) -> Path:
    """A folder with files of the hub."""
    from huggingface_hub import snapshot_download

    with telling(name, bundled(), **hub):
        return Path(snapshot_download(name, allow_patterns=list(wanted), **hub))


def _folder(model: str | Path) -> Path:
    """Where a bundled or a fetched model is; other names are folders themselves."""
    from vlmlens.zoo import smol

    if model in smol.NAMES:
        return smol.fetched(str(model))
    here = bundled()
    if model not in here and model in homes.published():
        raise homes.absent(str(model))
    return here.get(str(model), at_home(model))


def _like_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and " " not in name
