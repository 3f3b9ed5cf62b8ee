"""Results of other patch versions, which a folder may say that it accepts."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlmlens.checks import one_of
from vlmlens.store.atomic import make, whole
from vlmlens.store.shards import Shard

#: What a condition is but for patch versions: under this name among what is told of it.
LOOSE = "but_for_patches"
#: Where a folder says what it accepts; "exact" is what every folder does without.
NAME, WAYS = ".accepts", ("patch", "exact")


def accept_versions(folder: Path, which: str) -> None:
    """Have a folder accept results of versions that differ in their patch, or no longer.

    Runs that read such results say so each time.

    Args:
        folder: the store's.
        which: ``"patch"``: torch 2.13.0 in place of 2.13.1, say; or ``"exact"``.

    Raises:
        InputError: another word.
        DataError: it cannot be written there.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.store import accept_versions, accepts
        >>> accept_versions(Path("results"), "patch")
        >>> accepts(Path("results"))
        True
    """
    one_of(which, "versions", WAYS)
    make(folder)
    if which == "exact":
        (folder / NAME).unlink(missing_ok=True)
    else:
        whole(folder / NAME, lambda part: part.write_text(which, encoding="utf-8"))


def accepts(folder: Path) -> bool:
    """Whether a folder accepts results of other patch versions."""
    return (folder / NAME).is_file()


def like(told: Mapping[str, Any], key: str, shards: Iterable[Shard]) -> dict[str, str]:
    """Conditions that differ in nothing but patch versions: their keys, and versions.

    A vlmlens of the same version whose code is another was edited: that is no patch.

    Args:
        told: of the condition that is wanted.
        key: its own.
        shards: where to look.
    """
    found: dict[str, str] = {}
    for shard in shards:
        for other, what in () if shard.failed else shard.conditions.items():
            same = LOOSE in told and what.get(LOOSE) == told[LOOSE]
            if same and other != key and not _was_edited(what, told):
                found[other] = str(what.get("versions", ""))
    return found


def _was_edited(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    (_, version, code), (_, now, own) = (
        str(each["versions"]).partition(",")[0].split(" ") for each in (one, other)
    )
    return version == now and code != own
