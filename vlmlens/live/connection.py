"""One socket of a page: requests in, answers and progress out, in whatever order they are ready."""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, runtime_checkable

from starlette.websockets import WebSocket, WebSocketDisconnect

from vlmlens.checks import shown
from vlmlens.errors import InputError, VLMLensError
from vlmlens.live.actions import ACTIONS, refuse
from vlmlens.live.session import Session
from vlmlens.live.turns import Cancelled, Job

#: Requests of one socket that may wait at once.
WAITING = 64
_log = logging.getLogger(__name__)


@runtime_checkable
class Hosts(Protocol):
    """What a connection needs of the server."""

    def session(self, name: Any) -> Session:
        """The session of this name, or a new one."""
        ...

    def left(self, session: Session) -> None:
        """The page that had this session is gone."""
        ...

    async def done(self, session: Session, what: str, message: dict[str, Any], job: Job) -> Any:
        """What an action comes to, when its turn has come."""
        ...


class Connection:
    """One open socket."""

    def __init__(self, socket: WebSocket, host: Hosts):
        self._socket, self._host = socket, host
        self._session: Session | None = None
        self._jobs: dict[Any, Job] = {}
        self._tasks: set[asyncio.Task] = set()
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Answer until the page goes away; what it still waited for is called off."""
        await self._socket.accept()
        try:
            while True:
                await self._heard(await self._socket.receive_text())
        except WebSocketDisconnect:
            pass
        except KeyError:  # bytes, which no page of ours sends
            await self._socket.close(1003)
        finally:
            for job in list(self._jobs.values()):
                job.cancel()
            if self._session is not None:
                self._host.left(self._session)

    async def _heard(self, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            await self._send({"id": None, "error": "what was sent is no JSON"})
            return
        number = message.get("id") if isinstance(message, dict) else None
        if isinstance(number, bool) or not isinstance(number, int):
            await self._send({"id": None, "error": "a request is {'id': 7, 'do': ...}"})
        elif message.get("do") == "cancel":
            job = self._jobs.get(of) if isinstance(of := message.get("of"), int) else None
            if job is not None:
                job.cancel()
            await self._send({"id": number, "ok": True})
        else:
            try:
                self._begin(number, message)
            except VLMLensError as error:
                await self._send({"id": number, "error": str(error)})

    def _begin(self, number: int, message: dict[str, Any]) -> None:
        what = message.get("do")
        if not isinstance(what, str) or what not in ACTIONS:
            raise refuse(what)
        if number in self._jobs:
            raise InputError(f"id={shown(number)} is still being answered: take another number")
        if len(self._jobs) >= WAITING:
            raise InputError(f"{WAITING} requests wait already: wait for their answers")
        if self._session is None or (what == "open" and message.get("session")):
            if self._session is not None:
                self._host.left(self._session)
            self._session = self._host.session(message.get("session"))
        job = self._jobs[number] = Job(self._hears(number))
        self._keep(asyncio.create_task(self._answer(self._session, number, what, message, job)))

    def _keep(self, task: asyncio.Task) -> None:
        """Hold on to a task until it is done: the loop itself does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, session: Session, number: int, what: str, message: dict[str, Any], job: Job
    ) -> None:
        try:
            found = await self._host.done(session, what, message, job)
            text = _text({"id": number, "ok": True, **found})
        except Cancelled:
            text = _text({"id": number, "error": "cancelled", "cancelled": True})
        except VLMLensError as error:
            text = _text({"id": number, "error": str(error)})
        except Exception as error:  # a bug of ours is shown in the page, and nothing is lost
            _log.exception("a request of the live explorer failed: %s", what)
            text = _text({"id": number, "error": f"{type(error).__name__}: {error}"})
        self._jobs.pop(number, None)
        await self._write(text)

    def _hears(self, number: int) -> Callable[[float, str], None]:
        loop = asyncio.get_running_loop()

        def hear(share: float, note: str) -> None:
            said = {"id": number, "progress": round(share, 3), "note": note}
            if not loop.is_closed():
                loop.call_soon_threadsafe(partial(self._tell, number, said))

        return hear

    def _tell(self, number: int, said: dict[str, Any]) -> None:
        if number in self._jobs:  # else it has been answered
            self._keep(asyncio.ensure_future(self._send(said)))

    async def _send(self, reply: dict[str, Any]) -> None:
        await self._write(_text(reply))

    async def _write(self, text: str) -> None:
        async with self._sending:
            with suppress(WebSocketDisconnect, RuntimeError):  # the page is gone
                await self._socket.send_text(text)


def _text(reply: dict[str, Any]) -> str:
    """A reply as it is sent; what is no number for the page is a fault of ours, and said."""
    return json.dumps(reply, allow_nan=False)
