"""Ratios of times, from sides that take turns.

One thread, and the CPU seconds of the process: other work on the machine hardly disturbs them.
"""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Found:
    """What a job came to.

    Attributes:
        ratio: ours against theirs; or what the job counts.
        low: the lower quartile over rounds.
        high: the upper quartile.
        note: what lies behind it.
    """

    ratio: float
    low: float
    high: float
    note: str

    @classmethod
    def exact(cls, ratio: float, note: str) -> "Found":
        """A count, which does not vary."""
        return cls(ratio, ratio, ratio, note)


@dataclass(frozen=True)
class Side:
    """One of two things that are timed.

    Attributes:
        run: what is timed.
        times: how many of these make the whole: one is timed where all cost the same.
        plus: what else belongs to the whole, timed as often as the rest.
    """

    run: Callable[[], object]
    times: float = 1.0
    plus: "Side | None" = field(default=None)

    def seconds(self) -> float:
        """How long the whole takes."""
        return self.times * seconds(self.run) + (self.plus.seconds() if self.plus else 0.0)


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one call; what it returns is freed before the next."""
    gc.collect()
    start = time.process_time()
    kept = run()
    took = time.process_time() - start
    del kept
    return took


def compared(
    ours: Callable[[], object] | Side, theirs: Callable[[], object] | Side, rounds: int
) -> Found:
    """The median, over rounds, of our time against theirs.

    Sides take turns and change places from round to round; the first round warms up and does
    not count.
    """
    sides = [x if isinstance(x, Side) else Side(x) for x in (ours, theirs)]
    ratios, times = [], []
    for number in range(rounds + 1):
        order = (0, 1) if number % 2 else (1, 0)
        took = dict(sorted((which, sides[which].seconds()) for which in order))
        if number:
            ratios.append(took[0] / took[1])
            times.append(took)
    low, middle, high = quartiles(ratios)
    medians = [statistics.median(took[which] for took in times) for which in (0, 1)]
    return Found(middle, low, high, f"{shown(medians[0])} / {shown(medians[1])}")


def timed(run: Callable[[], object], rounds: int) -> Found:
    """Seconds of one call, median over rounds."""
    run()
    found = [seconds(run) for _ in range(rounds)]
    low, middle, high = quartiles(found)
    return Found(middle, low, high, shown(middle))


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def shown(took: float) -> str:
    """Seconds, or milliseconds where they are few."""
    return f"{took:.2f} s" if took >= 0.1 else f"{1000 * took:.1f} ms"
