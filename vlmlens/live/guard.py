"""Who may speak with the server: this machine's own page, with the token from its address."""

import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse

from vlmlens.errors import InputError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

#: Names of this machine that the server answers to.
NAMES = ("127.0.0.1", "localhost", "[::1]")
#: What a page of this server may load, and who may frame it: notebooks of this machine.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' {sockets}; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:* vscode-webview:"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An application behind checks of host, origin and token.

    The token stands in the query (``?token=``) or is the first part of the path, as where the page
    loads its files from. Browsers name the origin of every socket and of every request that sends
    something: there it has to be this server's own. Whatever is wrong is answered with 403.

    Raises:
        InputError: a token that is short, or no part of an address.

    Attributes:
        token: what everybody has to know.
        port: where the server listens, for ``Host`` and ``Origin``.
    """

    def __init__(self, inner: Callable[[Scope, Receive, Send], Awaitable[None]], token: str):
        if len(token) < 8 or not re.fullmatch(r"[\w-]+", token, re.ASCII):
            raise InputError("token: at least 8 letters, digits, - and _ are wanted")
        self._inner = inner
        self.token = token
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is in order."""
        if scope["type"] == "lifespan":
            return await self._inner(scope, receive, send)
        reason, path = self._looked_at(scope)
        if reason and scope["type"] == "websocket":
            await receive()  # the request to connect
            return await send({"type": "websocket.close", "code": 1008})  # before it: a 403
        if reason:
            return await JSONResponse({"error": reason}, 403, HEADERS)(scope, receive, send)
        return await self._inner({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    def _looked_at(self, scope: Scope) -> tuple[str, str]:
        """Why it is refused, "" if it is not; and the path without the token."""
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        own = {f"{name}:{self.port}" for name in NAMES}
        if len(hosts) != 1 or hosts[0].lower() not in own:
            return "this server answers to this machine's own names alone", ""
        sends = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if origins != [f"http://{hosts[0].lower()}"] and (origins or sends):
            return "this server speaks with its own page alone", ""
        path = scope["path"]
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        said = query.get("token", [])
        if not said and path.count("/") > 1:
            first, _, rest = path[1:].partition("/")
            said, path = [first], f"/{rest}"
        if len(said) != 1 or not hmac.compare_digest(said[0].encode(), self.token.encode()):
            return "the token in the address is missing or wrong: open the address as printed", ""
        return "", path
