"""What identifies a value: all that it holds, and all the code that it would run."""

from typing import Any

from vlmlens.identity.hasher import Hasher
from vlmlens.identity.libraries import told
from vlmlens.identity.readers import CONTAINERS, READERS, instance


def value(given: Any) -> str:
    """A hash that only values share which would give the same result, in any process.

    Containers, arrays and tensors are known by what they hold; other objects by their class and
    their state; functions and classes that belong to no installed library by their code, their
    defaults, what they close over and the globals that they read, and so on through whatever those
    call. What an installed library brings is known by its name and the library's version. Neither
    comments nor places in a file count; nor does the order of a set. What code reads only as it
    runs is not seen: files that it opens, the environment, and torch's and numpy's random state.

    Raises:
        DataError: what differs from others by its address alone, such as ``object()``, an
            open file or a generator; code that reads by ``globals()``, ``eval`` or ``exec``.

    Examples:
        >>> from vlmlens import identity
        >>> identity.value({"a": [1, 2]}) == identity.value({"a": [1, 2]})
        True
        >>> identity.value(lambda x: x + 1) == identity.value(lambda x: x + 2)  # by their code
        False
        >>> identity.value(object())
        Traceback (most recent call last):
        vlmlens.errors.DataError: ... is known by its address alone...
    """
    content = Content()
    made = content.of(given)
    return content.joined("value", made, told(content.libraries))


def glance(given: Any) -> str:
    """The same within this process, where a tokenizer's vocabulary is known by its size.

    Examples:
        >>> from vlmlens import identity
        >>> tokenizer = model.processor.tokenizer
        >>> identity.glance(tokenizer) == identity.glance(tokenizer)
        True
    """
    return Content(vocabulary=False).of(given)


class Content(Hasher):
    """One look at values: what it has met, it does not look at again.

    Args:
        revision: stands for weights that are offloaded, and so cannot be read.
        vocabulary: read every entry of a tokenizer's vocabulary, and not only how many there are.

    Attributes:
        own_code: whether any of it was code that belongs to no installed library.
        libraries: those that were met, and their versions, which are in no hash.
        by_row: whether any of it may hold something of every sample of a batch: a tensor or an
            array of two dimensions or more, that is no module's weight.

    Examples:
        >>> from vlmlens.identity import Content
        >>> content = Content()
        >>> len(content.of([1, 2])), content.own_code
        (32, False)
        >>> one, two = content.of(1), content.of(2)
        >>> content.joined("pair", one, two) == content.joined("pair", two, one)
        False
    """

    def read(self, given: Any) -> str:
        """The hash of a value, by what kind of value it is."""
        read = CONTAINERS.get(type(given))
        if read is not None:
            return read(given, self)
        for kinds, read in READERS:
            if isinstance(given, kinds):
                return read(given, self)
        return instance(given, self)
