"""What all wires of a model share: a lock, and whether the model was given back."""

from dataclasses import dataclass, field
from threading import RLock
from typing import Any


@dataclass(eq=False)
class Board:
    """What all wires of a model share.

    Attributes:
        lock: held while hooks come and go.
        closed: whether the model was given back, so that no hook may be added.
    """

    lock: Any = field(default_factory=RLock)
    closed: bool = False
