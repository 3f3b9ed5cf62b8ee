"""``make mutants``: plant every fault, run the tests that should notice, write docs/mutants.md."""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.fault import ROOT, Fault
from tests.mutants.faults import FAULTS
from tests.mutants.trial import Outcome, copied, outcome, tried

PAGE = ROOT / "docs" / "mutants.md"
HEAD = (Path(__file__).parent / "page.md").read_text()


def main() -> int:
    """Plant faults one at a time, and count those that no test notices."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=main.__doc__)
    parser.add_argument("--only", default="", help="faults whose name or file holds this")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    given = parser.parse_args()
    chosen = [f for f in FAULTS if given.only in f.name or given.only in f.file]
    for fault in chosen:
        fault.check()
    start = time.perf_counter()
    found: dict[Fault, Outcome] = {}
    with copied(ROOT) as sound, ThreadPoolExecutor(given.jobs) as pool:
        # Without a fault all of these pass; otherwise a failure would say nothing.
        if (plain := outcome(sound, tuple(sorted({t for f in chosen for t in f.tests})))).noticed:
            print(f"with no fault planted, {plain.by} fails", file=sys.stderr)
            return 2
        outcomes = pool.map(lambda fault: tried(fault, sound), chosen)
        for fault, said in zip(chosen, outcomes, strict=True):
            found[fault] = said
            word = "noticed " if said.noticed else "SURVIVES"
            print(f"{word}  {fault.file}: {fault.name}  {said.by}", flush=True)
    if len(chosen) == len(FAULTS):
        PAGE.write_text(page(found))
    survivors = sum(not said.noticed for said in found.values())
    print(f"{len(found)} faults, {survivors} survive; {time.perf_counter() - start:.0f} s")
    return min(survivors, 1)


def page(found: dict[Fault, Outcome]) -> str:
    """The table: every fault, and the test that noticed it."""
    rows = [
        f"| {fault.name} | `{fault.file}` | "
        + (f"`{said.by.removeprefix('tests/')}` |" if said.noticed else "**none** |")
        for fault, said in found.items()
    ]
    survivors = sum(not said.noticed for said in found.values())
    return HEAD.format(count=len(found), survivors=survivors or "none", rows="\n".join(rows))


if __name__ == "__main__":
    sys.exit(main())
