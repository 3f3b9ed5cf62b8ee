"""``python -m vlmlens.gpu``: try a card, print what is found, and keep it as JSON."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from vlmlens.errors import VLMLensError
from vlmlens.gpu.card import Card
from vlmlens.gpu.costs import costs
from vlmlens.gpu.findings import Cost, Law
from vlmlens.gpu.laws import FEW, every_family, laws
from vlmlens.gpu.page import page
from vlmlens.gpu.subject import NARROW, ROOM, SEVEN, Size, Subject

T = TypeVar("T", Law, Cost)


def main(arguments: list[str] | None = None) -> int:
    """Try whether everything holds on a GPU, and what it costs there."""
    parser = argparse.ArgumentParser(prog="python -m vlmlens.gpu", description=main.__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ...; cpu tries the trial")
    parser.add_argument("--out", type=Path, default=Path("gpu_results"), help="folder of the JSON")
    parser.add_argument("--quick", action="store_true", help="few families, a narrow model")
    parser.add_argument("--rounds", type=int, default=7, help="how often jobs take turns")
    parser.add_argument("--page", type=Path, help="write the table of all JSON in --out here, too")
    given = parser.parse_args(arguments)
    try:
        card = Card(given.device)
    except VLMLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", card.describe()["device"].lower()).strip("-")
    file = given.out / f"{name}.json"
    trial: dict[str, Any] = {}
    for trial in whole(card, given.quick, given.rounds):  # kept as it goes
        file.write_text(json.dumps(trial, indent=1))
    print(page([trial]))
    print(f"kept in {file}", file=sys.stderr)
    if given.page is not None:
        kept = [json.loads(each.read_text()) for each in sorted(given.out.glob("*.json"))]
        given.page.write_text(page(kept))
    return int(any(law["holds"] is False for law in trial["laws"]))


def whole(card: Card, quick: bool, rounds: int) -> Iterator[dict[str, Any]]:
    """What was found so far, as plain values, after every finding: costs first, then laws."""
    start, size = time.perf_counter(), large(card, quick)
    trial: dict[str, Any] = {
        "about": card.describe(),
        "date": datetime.now(UTC).date().isoformat(),
        "size": str(size),
        "costs": [],
        "laws": [],
    }
    subject = Subject.of(size, card.device)
    with subject.vlm:
        for cost in told(costs(card, subject, rounds)):
            trial["costs"].append(asdict(cost))
            yield trial | {"seconds": time.perf_counter() - start}
    del subject
    for law in told(laws(card, FEW if quick else every_family())):
        trial["laws"].append(asdict(law))
        yield trial | {"seconds": time.perf_counter() - start}


def large(card: Card, quick: bool) -> Size:
    """The size of LLaVA-1.5-7B where it fits."""
    return SEVEN if card.free() >= ROOM and not quick else NARROW


def told(found: Iterator[T]) -> Iterator[T]:
    """What is found, a line each on the way."""
    for each in found:
        if isinstance(each, Law):
            word = {True: "holds", False: "DOES NOT HOLD", None: "not tried"}[each.holds]
            print(f"{word}\t{each.name}\t{each.subject}\t{each.found}", file=sys.stderr, flush=True)
        else:
            print(f"{each.passes:.2f} passes\t{each.name}", file=sys.stderr, flush=True)
        yield each


if __name__ == "__main__":
    sys.exit(main())
