"""Which version of a model lies in a folder: a hash of all that can be part of how it is opened."""

from pathlib import Path

from xxhash import xxh3_128

#: Endings of the files that a model is opened from: weights, settings, vocabularies, templates.
PARTS = (".json", ".safetensors", ".bin", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".jsonl")
#: Bytes that are read at a time.
PIECE = 2**24


def hashed(folder: Path) -> str:
    """A hash of the names and all of the contents of a model's files."""
    made = xxh3_128()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in PARTS:
            made.update(f"{path.name} {path.stat().st_size} ".encode("utf-8", "surrogateescape"))
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    made.update(piece)
    return made.hexdigest()[:16]
