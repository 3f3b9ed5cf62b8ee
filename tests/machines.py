"""Another machine, as far as this one can be one: prints the settings of a turn for a shell.

Products come out differently on processors with other vector instructions, with other kernels, on
more threads; tests must not depend on it, nor on the order in which they run. A turn takes two.
"""

import sys
from collections.abc import Sequence

import torch

VECTORS = "export ATEN_CPU_CAPABILITY="
SETTINGS = (
    VECTORS + "default",
    'export ORDER="-p randomly --randomly-seed=1"',
    "export VLMLENS_TEST_MKLDNN=0",
    VECTORS + "avx2",
    'export ORDER="-p randomly --randomly-seed=2"',
    # Passive: threads that wait for each other in a loop, of several processes on few cores, make
    # tests many times slower.
    "export VLMLENS_TEST_THREADS=2 OMP_WAIT_POLICY=PASSIVE",
    VECTORS + "avx512",
    'export ORDER="-p randomly --randomly-seed=3"',
)
#: Vector instructions by how many come with them.
LEVELS = ("default", "avx2", "avx512")


def possible(most: str) -> list[str]:
    """The settings that a processor can have whose best vector instructions these are.

    torch does not ask: told to use instructions that the processor lacks, it dies at the first.
    """
    beyond = LEVELS[LEVELS.index(most) + 1 :]
    return [own for own in SETTINGS if own.removeprefix(VECTORS) not in beyond]


def turn(number: int, settings: Sequence[str]) -> list[str]:
    """Two settings that lie beside each other, by turns all pairs of neighbours."""
    return [settings[at % len(settings)] for at in (number, number + 1)]


if __name__ == "__main__":
    best = torch.backends.cpu.get_cpu_capability().lower()
    print("; ".join(turn(int(sys.argv[1]), possible(best if best in LEVELS else "default"))))
