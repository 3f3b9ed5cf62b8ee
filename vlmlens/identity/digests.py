"""The one hash that identities are made of: 128 bits of XXH3."""

from xxhash import xxh3_128

#: What can be hashed as it lies in memory.
Bytes = bytes | bytearray | memoryview


def digest(*parts: Bytes) -> str:
    """A hash of some bytes, of each part's length, and of their order.

    Examples:
        >>> from vlmlens.identity import digest
        >>> digest(b"ab", b"c") == digest(b"a", b"bc")  # where parts end counts
        False
    """
    made = xxh3_128()
    for part in parts:
        made.update(len(part).to_bytes(8, "little"))
        made.update(part)
    return made.hexdigest()
