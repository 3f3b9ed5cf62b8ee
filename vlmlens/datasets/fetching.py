"""Published sets from the hub: their files as they are, verified, complete or not at all."""

import hashlib
import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from vlmlens.annotations import checked
from vlmlens.datasets.benchmarks import Benchmark, asked_for, manifest
from vlmlens.datasets.benchmarks.manifest import File
from vlmlens.datasets.benchmarks.source import Source
from vlmlens.datasets.linked import fetch_linked
from vlmlens.errors import DataError, FetchError, UnreachableError


@checked
def fetch_set(data: str, *, say: Callable[[str], None] = lambda line: None) -> Path:
    """Download a published set's files into its folder, where ``datasets.load`` finds them.

    What is there already, in its whole size and with its hash, is not downloaded again; so are
    pictures that the files name by their addresses. The list of files is written when all are
    there; until then the set does not load.

    Args:
        data: as for ``datasets.load``: ``"pope"``, ``"vqa-v2:validation@FOLDER"``. Of a set whose
            splits have files of their own, only those of the split.
        say: told of every file.

    Returns:
        The folder.

    Raises:
        DataError: no such set, or one that is not on the hub as a whole.
        UnreachableError: the hub cannot be reached; says which files to put where by other means.
        FetchError: a download that is not what the hub says it is.

    Examples:
        >>> from vlmlens.datasets import fetch_set
        >>> fetch_set("spatial-mm")
        Traceback (most recent call last):
        vlmlens.errors.DataError: Spatial-MM is not on the hub with its pictures...
    """
    asked = asked_for(data)
    if asked is None:
        raise DataError(f"no published set {data!r}: NAME, NAME:SPLIT or NAME:SPLIT@FOLDER")
    bench, split, folder = asked
    source = bench.source(bench.split(split))
    if source is None:
        raise DataError(
            f"{bench.title} is not on the hub with its pictures. {bench.where_from()}; put its "
            f"files into {folder}"
        )
    there = folder / source.below
    revision, files = _published(bench, source, there)
    there.mkdir(parents=True, exist_ok=True)
    (there / manifest.BEGUN).write_text("\n".join(files))
    for number, (name, file) in enumerate(files.items(), 1):
        state = "is there"
        if not _is(there / name, file):
            _download(bench, source, revision, name, there)
            state = "fetched"
            if not _is(there / name, file):
                (there / name).unlink(missing_ok=True)
                raise FetchError(
                    f"{name} of {source.repo} is not what the hub says it is ({file.size} bytes, "
                    f"sha256 {file.sha256 or 'not told'}): it was removed; fetch it again"
                )
        say(f"{number} of {len(files)}: {name} {state}")
    if source.linked is not None:
        files |= fetch_linked(list(source.linked(there)), there, say)
    manifest.write(there, source.repo, revision, files)
    return folder


def _published(bench: Benchmark, source: Source, folder: Path) -> tuple[str, dict[str, File]]:
    """The revision of today, and the files that are wanted of it."""
    from huggingface_hub import HfApi

    try:
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        info = api.dataset_info(source.repo, files_metadata=True)
    except Exception as error:  # whatever a client stumbles over: no network, a proxy, a login
        raise _unreachable(bench, source, folder, error) from error
    wanted = [
        each
        for each in info.siblings or ()
        if any(fnmatchcase(each.rfilename, pattern) for pattern in source.files)
    ]
    if not wanted:
        raise FetchError(
            f"{source.repo} holds none of {', '.join(source.files)}: it is not laid out as it was; "
            f"{bench.where_from()}"
        )
    files = {
        each.rfilename: File(int(each.size or 0), each.lfs.sha256 if each.lfs else "")
        for each in sorted(wanted, key=lambda each: each.rfilename)
    }
    return str(info.sha), files


def _download(bench: Benchmark, source: Source, revision: str, name: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(
            source.repo,
            name,
            repo_type="dataset",
            revision=revision,
            local_dir=folder,
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except Exception as error:  # as above; what arrived so far is kept
        raise _unreachable(bench, source, folder, error) from error


def _is(path: Path, file: File) -> bool:
    """Whether a file is there as it is published."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if not file.sha256:
        return True
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


def _unreachable(
    bench: Benchmark, source: Source, folder: Path, error: Exception
) -> UnreachableError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return UnreachableError(
        f"{source.repo} cannot be reached from here ({reason:.300}). By other means, put "
        f"{', '.join(source.files)} into {folder}; {bench.where_from()}"
    )
