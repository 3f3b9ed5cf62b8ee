"""How the server runs: in a thread of a notebook, or as a process that stops with its parent."""

import os
import socket
import threading
from time import monotonic, sleep
from typing import Any

import uvicorn

from vlmlens.errors import InputError, VLMLensError
from vlmlens.live.serving import Host

#: Bytes of a message at most; pictures come another way.
MOST_MESSAGE = 2**20
#: Seconds between looks at whether the parent is there, and until a server has to be up.
LOOKS, PATIENCE = 0.5, 20.0


def listening(port: int) -> socket.socket:
    """A socket of this machine alone.

    Raises:
        InputError: the port is taken.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
        found.listen()  # who comes before the server does waits, and is not refused
    except OSError as error:
        found.close()
        raise InputError(
            f"port={port} of 127.0.0.1 cannot be had: {error.strerror}; 0 takes a free one"
        ) from error
    return found


class Server:
    """A host on a socket of this machine.

    Attributes:
        address: where it is, with its token.
    """

    def __init__(self, host: Host, port: int = 0):
        self.host, self._socket = host, listening(port)
        host.guard.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{host.guard.port}/?token={host.guard.token}"
        config = uvicorn.Config(
            host.guard,
            log_level="error",
            access_log=False,  # it would write the token down
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=MOST_MESSAGE,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until Ctrl-C, SIGTERM, or the end of the process that started this one."""
        threading.Thread(target=self._watch, args=(os.getppid(),), daemon=True).start()
        try:
            self._server.run([self._socket])
        finally:
            self.close()

    def start(self) -> None:
        """Serve in a thread.

        Raises:
            VLMLensError: it does not come up.
        """
        run: Any = self._server.run
        self._thread = threading.Thread(target=run, args=([self._socket],), daemon=True)
        self._thread.start()
        late = monotonic() + PATIENCE
        while not self._server.started:
            if not self._thread.is_alive() or monotonic() > late:
                self.close()
                raise VLMLensError("the live explorer's server did not come up")
            sleep(0.01)

    def close(self) -> None:
        """Stop serving, and leave the model as it was."""
        self._server.should_exit = True
        self.host.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)
        self._socket.close()

    def _watch(self, parent: int) -> None:
        while not self._server.should_exit:
            if os.getppid() != parent:
                self._server.should_exit = True
            sleep(LOOKS)
