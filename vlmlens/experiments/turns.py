"""Turns: several processes on one folder, none of which does what another one is doing."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Task = TypeVar("Task")
#: Seconds between two looks at work that another process is doing.
PATIENCE = 0.2


def in_turn(
    tasks: Iterable[Task], claim: Callable[[Task], bool], wait: Callable[[], object]
) -> Iterator[Task]:
    """Every task, when it can be claimed; those that others are doing come last.

    Args:
        tasks: what is left.
        claim: takes a task for this process; False where another one has it.
        wait: what is done before waiting for others, who may be waiting for what is done here.
    """
    others: list[Task] = []
    for task in tasks:
        if claim(task):
            yield task
        else:
            others.append(task)
    while others:
        wait()
        time.sleep(PATIENCE)
        tried, others = others, []
        for task in tried:
            if claim(task):
                yield task
            else:
                others.append(task)
