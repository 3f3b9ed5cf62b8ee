"""How long the live explorer takes from an action to the new picture; docs/explore.md.

    python -m tests.benchmarks.exploring shapes-base --rounds 7

A page that is told of a new state asks for the attention of every layer and for the logit lens of
the edited run, too: the picture is new when all of these are there. One thread, and both the CPU
seconds of the process and those of the clock, median over rounds. ``--profile`` prints the
functions that take longest.
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable
from statistics import median

import torch

import vlmlens as vl
from vlmlens.live.actions import ACTIONS
from vlmlens.live.serving import Host
from vlmlens.live.session import Session
from vlmlens.live.turns import Job

#: Questions that take turns; the picture stays.
QUESTIONS = ("What color is the square?", "Is there a star in the picture?")


class Page:
    """What a tab asks for, without a socket between."""

    def __init__(self, host: Host):
        self.host, self.session = host, Session(host.asking, host.sample)
        self.state = self.ask("open")["state"]

    def ask(self, what: str, **message: object) -> dict:
        """One request and its answer."""
        return ACTIONS[what](self.session, message, Job(), self.host.uploads)

    def act(self, what: str, **message: object) -> None:
        """An action, and all that the page asks for then."""
        self.state = self.ask(what, **message)["state"]
        edited, layers = self.state["edited"] is not None, self.state["model"]["layers"]
        which = "edited" if edited else "clean"
        for layer in (0, *range(1, layers, 8)):  # as the page asks
            count = min(8, layers - layer) if layer else 1
            self.ask("maps", layer=layer, count=count, query=self.state["query"], which=which)
        self.ask("lens", position=self.state["query"], edited=edited)


def actions(page: Page) -> dict[str, Callable[[int], None]]:
    """What is timed, by what a person would call it; each gets the number of its round."""
    layers, heads = (page.state["model"][name] for name in ("layers", "heads"))

    def knock(number: int) -> None:
        page.ask("clear")
        cell = [(layers - 1) * number // 8 % layers, number % heads]
        page.act("edit", edit={"kind": "heads", "heads": [cell], "how": "zero"})

    def question(number: int) -> None:
        page.act("question", text=f"{QUESTIONS[number % 2]}{' ' * (number // 2)}")

    def shuffle(number: int) -> None:
        page.ask("clear")
        keys = [at for at, token in enumerate(page.state["tokens"]) if "grid" in token]
        page.act("edit", edit={"kind": "tokens", "keys": keys, "how": "shuffle", "seed": number})

    return {"knock out a head": knock, "another question": question, "shuffle the picture": shuffle}


def main() -> None:
    """Time every action, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="shapes-base")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with vl.HookedVLM.from_pretrained(asked.model) as model:
        host = Host(model, vl.datasets.shapes_2d(1)[0])
        page = Page(host)
        print(f"{asked.model}, {len(page.state['tokens'])} tokens; CPU seconds, of the clock")
        for name, act in actions(page).items():
            act(0)  # the first one warms up
            print(f"  {name:20} {_told(act, asked.rounds)}", flush=True)
            if asked.profile:
                _profile(act, asked.rounds + 1)
        host.close()


def _told(act: Callable[[int], None], rounds: int) -> str:
    took = []
    for number in range(1, rounds + 1):
        began = time.process_time(), time.perf_counter()
        act(number)
        took.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    cpu, wall = (median(each) for each in zip(*took, strict=True))
    return f"{cpu:6.2f} {wall:6.2f}"


def _profile(act: Callable[[int], None], number: int) -> None:
    with cProfile.Profile() as profile:
        act(number)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(40)


if __name__ == "__main__":
    main()
