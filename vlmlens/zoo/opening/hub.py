"""What the hub refuses, or cannot be asked, told in one place: what is wrong, and what to do."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vlmlens.errors import InputError, UnknownModelError, UnreachableError, VLMLensError
from vlmlens.zoo.opening.adapters import SETTINGS

#: Libraries whose errors are a connection that failed.
CONNECTIONS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests")
#: Options that say which files of the hub, and whether to ask it.
REACH = ("revision", "token", "cache_dir", "local_files_only")


@contextmanager
def telling(model: str, known: Iterable[str], **hub: Any) -> Iterator[None]:
    """Tell what the hub refuses while this lasts; other errors are left as they are.

    Args:
        model: what was asked for.
        known: names of models that are here.
        hub: how the hub was asked.

    Raises:
        UnknownModelError: it has no such model, or no such revision of it.
        UnreachableError: a model that is gated, a hub that cannot be reached or is not to be
            asked, a download that broke off.
    """
    try:
        yield
    except VLMLensError:
        raise
    except Exception as error:
        if told := _told(model, list(known), error, hub):
            raise told from error
        raise


def refuse_revision(model: str | Path, asked: Mapping[str, Any]) -> None:
    """Refuse a revision of what lies in a folder, which has one state alone.

    Args:
        model: the folder, or a bundled or fetched name.
        asked: options.

    Raises:
        InputError: there is one.
    """
    if (wanted := asked.get("revision")) is not None:
        raise InputError(
            f"revision={wanted!r} is of models of the hub, owner/name; {model} lies in a "
            "folder, which has no revisions: leave it out, or name the model on the hub"
        )


def refuse_unreached(model: str, **hub: Any) -> None:
    """Ask the hub once whether it is there, for a model of which nothing is kept here.

    Its library asks again for half a minute where nobody answers, which a slip in a name should not
    cost. What the hub answers, a refusal too, is told by whoever asks for a file next.

    Raises:
        Exception: the connection's own, where none is made.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    place = {key: hub[key] for key in ("revision", "cache_dir") if key in hub}
    kept = any(try_to_load_from_cache(model, each, **place) for each in ("config.json", SETTINGS))
    if kept or constants.HF_HUB_OFFLINE or hub.get("local_files_only"):
        return
    url = hf_hub_url(model, "config.json", revision=hub.get("revision"))
    try:
        get_hf_file_metadata(url, token=hub.get("token"))
    except Exception as error:
        if type(error).__name__ == "ConnectError":  # of httpx or httpx2, by the library's version
            raise


def pinned(model: str, **hub: Any) -> Path:
    """The settings of a hub's model or adapter, in a folder that is called after the commit.

    All other files are taken of that commit, so that they are of one state.

    Raises:
        OSError: as the hub's library raises it.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    refuse_unreached(model, **hub)
    asked = {key: hub[key] for key in REACH if key in hub}
    try:
        return Path(hf_hub_download(model, "config.json", **asked))
    except RemoteEntryNotFoundError:
        with suppress(RemoteEntryNotFoundError):  # then what is missing is config.json
            return Path(hf_hub_download(model, SETTINGS, **asked))
        raise
    except LocalEntryNotFoundError:
        place = {key: asked[key] for key in ("revision", "cache_dir") if key in asked}
        kept = try_to_load_from_cache(model, SETTINGS, **place)
        if isinstance(kept, str):
            return Path(kept)
        raise


def _told(
    model: str, known: list[str], error: BaseException, hub: dict[str, Any]
) -> VLMLensError | None:
    from huggingface_hub import constants, errors

    chain = list(_chain(error))

    def among(*kinds: type) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    home = f"{constants.ENDPOINT}/{model}"
    offline = constants.HF_HUB_OFFLINE or bool(hub.get("local_files_only"))
    if among(errors.GatedRepoError):
        return UnreachableError(
            f"{model} is gated: accept its licence on {home}, then run `hf auth login` (or set "
            "HF_TOKEN) as the user who accepted it"
        )
    if among(errors.RevisionNotFoundError):
        return UnknownModelError(
            model, known, f"(bundled); the hub has {model}, but no revision {hub.get('revision')!r}"
        )
    if among(errors.RepositoryNotFoundError):
        return UnknownModelError(
            model,
            known,
            f"(bundled); {constants.ENDPOINT} does not know it either: look up its name there, or, "
            "if it is private, run `hf auth login`",
        )
    if offline and among(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        return UnreachableError(
            f"{model} is not, or not whole, in the cache {hub.get('cache_dir') or _cache()}, and "
            "the hub is not to be asked: open it once without HF_HUB_OFFLINE and local_files_only"
        )
    if among(errors.RemoteEntryNotFoundError):
        return None  # a file that is not there: whoever wanted it says which
    lost = any(type(each).__module__.partition(".")[0] in CONNECTIONS for each in chain)
    if lost or among(errors.LocalEntryNotFoundError, errors.HfHubHTTPError):
        return UnreachableError(
            f"{constants.ENDPOINT} cannot be reached from here for {model} ({_last(chain)}): look "
            "at the connection, and do the same again; files that came whole are kept"
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _last(chain: list[BaseException]) -> str:
    """What it all came of, in a few words."""
    said = str(chain[-1]).strip().splitlines()
    return f"{type(chain[-1]).__name__}: {said[0]}" if said else type(chain[-1]).__name__


def _cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE
