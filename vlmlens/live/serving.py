"""The server: the page, its files, pictures, and a socket for everything else."""

import asyncio
from collections import Counter, OrderedDict
from importlib.resources import files
from secrets import token_urlsafe
from threading import Lock
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from vlmlens.errors import VLMLensError
from vlmlens.live.actions import ACTIONS
from vlmlens.live.asking import Asking
from vlmlens.live.connection import Connection
from vlmlens.live.guard import HEADERS, POLICY, Guard
from vlmlens.live.pictures import MOST_BYTES, Uploads
from vlmlens.live.saved import Saved
from vlmlens.live.session import Session
from vlmlens.live.turns import Job, Turns
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: Sessions that are kept; the one that was not used for longest goes first.
MOST_SESSIONS = 64
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
#: Files that the page shares with the explorer of finished runs.
SHARED = ("values.js", "paint.js", "dom.js", "pointing.js", "explorer.css")


class Host:
    """One model and what is asked of it, by however many tabs."""

    def __init__(
        self,
        model: HookedVLM,
        sample: Sample,
        token: str | None = None,
        saved: Saved | None = None,
    ):
        self.model, self.sample = model, sample
        self.sessions: OrderedDict[str, Session] = OrderedDict()
        self._shown: Counter[str] = Counter()  # names of sessions, by how many pages have them
        self._lock = Lock()
        routes = [
            Route("/", self._page),
            Route("/static/{name}", self._static),
            Route("/picture", self._picture, methods=["POST"]),
            WebSocketRoute("/socket", self._socket),
        ]
        self._files = page_files()
        self.guard = Guard(Starlette(routes=routes), token or token_urlsafe(24))
        self.asking, self.uploads = Asking(model, saved), Uploads()
        self.turns = Turns(model)  # last: it is on the model until it is closed

    def session(self, name: Any) -> Session:
        """The session of this name, a copy where another page has it open, or a new one.

        A browser that doubles a tab doubles what the tab remembers, its session's name, too.
        """
        with self._lock:
            found = self.sessions.get(name) if isinstance(name, str) else None
            if found is None or self._shown[found.name]:
                found = Session(self.asking, self.sample) if found is None else found.copied()
                self.sessions[found.name] = found
                if len(self.sessions) > MOST_SESSIONS:
                    self.sessions.popitem(last=False)
            self.sessions.move_to_end(found.name)
            self._shown[found.name] += 1
            return found

    def left(self, session: Session) -> None:
        """The page that had this session is gone: the next one may go on with it."""
        with self._lock:
            self._shown[session.name] -= 1
            self._shown += Counter()  # what nobody has is not counted

    def last(self) -> Session | None:
        """The session that was used last."""
        with self._lock:
            return next(reversed(self.sessions.values()), None)

    async def done(self, session: Session, what: str, message: dict[str, Any], job: Job) -> Any:
        """What an action comes to, when its turn has come."""

        def work(job: Job) -> Any:
            return ACTIONS[what](session, message, job, self.uploads)

        with self._lock:
            if session.name in self.sessions:
                self.sessions.move_to_end(session.name)
        return await asyncio.wrap_future(self.turns.submit(job, work))

    def close(self) -> None:
        """Call off what runs and waits, and leave the model as it was."""
        self.turns.close()

    async def _page(self, request: Request) -> Response:
        if (page := self._files.get("index.html")) is None:
            return JSONResponse({"error": "the page's files are not installed"}, 404, HEADERS)
        text = page.decode()
        # Files of the page are asked for with the token, too: scripts cannot pass it on.
        based = text.replace("<head>", f'<head>\n<base href="/{self.guard.token}/">', 1)
        sockets = f"ws://{request.headers['host']}"
        headers = {**HEADERS, "Content-Security-Policy": POLICY.format(sockets=sockets)}
        return Response(based, media_type="text/html", headers=headers)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        data, kind = self._files.get(name), TYPES.get(f".{name.rpartition('.')[2]}")
        if data is None or kind is None:
            return JSONResponse({"error": "no such file"}, 404, HEADERS)
        return Response(data, media_type=kind, headers=HEADERS)

    async def _picture(self, request: Request) -> Response:
        data = b""
        async for part in request.stream():
            data += part
            if len(data) > MOST_BYTES:
                said = f"the picture has more than {MOST_BYTES // 2**20} MiB: make it smaller"
                return JSONResponse({"error": said}, 413, HEADERS)
        try:
            name = await asyncio.to_thread(self.uploads.add, data)
        except VLMLensError as error:
            return JSONResponse({"error": str(error)}, 400, HEADERS)
        return JSONResponse({"upload": name}, headers=HEADERS)

    async def _socket(self, socket: WebSocket) -> None:
        await Connection(socket, self).run()


def page_files() -> dict[str, bytes]:
    """Every file of the page by its name: what is not in this table cannot be read."""
    page = files("vlmlens.live").joinpath("page")
    own = [each for each in page.iterdir() if each.is_file()] if page.is_dir() else []
    shared = files("vlmlens.plots.interactive")
    every = [*(shared.joinpath(name) for name in SHARED), *own]
    kinds = (*TYPES, ".html")
    return {each.name: each.read_bytes() for each in every if each.name.endswith(kinds)}
