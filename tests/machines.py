"""Another machine, as far as this one can be one: prints the settings of a turn for a shell.

Products come out differently on processors with other vector instructions, with other kernels, on
more threads; tests must not depend on it, nor on the order in which they run. A turn takes two.
"""

import sys

SETTINGS = (
    "export ATEN_CPU_CAPABILITY=default",
    'export ORDER="-p randomly --randomly-seed=1"',
    "export VLMLENS_TEST_MKLDNN=0",
    "export ATEN_CPU_CAPABILITY=avx2",
    'export ORDER="-p randomly --randomly-seed=2"',
    "export VLMLENS_TEST_THREADS=2",
)


def turn(number: int) -> list[str]:
    """Two settings that lie beside each other, by turns all pairs of neighbours."""
    return [SETTINGS[at % len(SETTINGS)] for at in (number, number + 1)]


if __name__ == "__main__":
    print("; ".join(turn(int(sys.argv[1]))))
