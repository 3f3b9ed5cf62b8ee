"""A session without a server: what a tab would send, and what it would be answered."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from conftest import picture

import vlmlens as vl
from vlmlens.live.actions import ACTIONS
from vlmlens.live.serving import Host
from vlmlens.live.turns import Job

QUESTION = "What color is the circle?"
SCENE = [
    {"shape": "star", "color": "red", "x": 0.5, "y": 0.25, "radius": 0.125},
    {"shape": "circle", "color": "blue", "x": 0.5, "y": 0.75, "radius": 0.125},
]


class Tab:
    """One session of a host."""

    def __init__(self, host):
        self.host, self.session = host, host.session(None)

    def ask(self, do, job=None, **message):
        def work(job):
            return ACTIONS[do](self.session, message, job, self.host.uploads)

        return self.host.turns.submit(job or Job(), work).result(timeout=60)

    def state(self, do, **message):
        return self.ask(do, **message)["state"]

    def add(self, **edit):
        return self.state("edit", edit=edit)

    def edited(self):
        """The clean run, all interventions, and the logits under them."""
        clean, edits = self.session.edits(Job())
        return clean, edits, self.session.asking.edited(clean, edits, Job()).logits


def hosted(model, question=QUESTION):
    return Host(model, vl.Sample(question, picture(3, (40, 40))))


def awaited(coroutine):
    """What a coroutine returns, in a thread of its own: playwright keeps a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result(timeout=60)
