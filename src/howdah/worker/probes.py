"""Probes: /livez, /readyz and /health of a worker, by HTTP, on a thread of their own.

So they answer while the event loop is blocked, which is what they are there to say. Nothing of a task is in the answers.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

import msgspec

from howdah import calls
from howdah.db.pool import Database
from howdah.errors import HowdahError
from howdah.health import Health
from howdah.worker.address import Address
from howdah.worker.vitals import Answer, Vitals

log = logging.getLogger("howdah.worker")

# Seconds for which an answer of the database serves all who ask, and how long they wait for one.
_FRESH = 1.0
_PATIENCE = 5.0

Reply = tuple[int, dict[str, Any]]


class Reading:
    """What `howdah.health()` said last. However many ask, the database is asked by one of them, once a second."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(dsn, size=1, patience=_PATIENCE)
        self._asking = threading.Lock()
        self._reply: Reply | None = None
        self._at = 0.0

    def reply(self) -> Reply:
        """The status and the body of /health: 503 for red, and when the database does not say."""
        if not self._asking.acquire(timeout=_PATIENCE):
            return _red("the database does not answer")
        try:
            if self._reply is None or time.monotonic() - self._at > _FRESH:
                self._reply = self._ask()
                self._at = time.monotonic()
            return self._reply
        finally:
            self._asking.release()

    def _ask(self) -> Reply:
        try:
            found = Health.of(self._database.run_sync(calls.health()))
        except Exception as error:
            log.debug("health: %s", error)
            return _red("the database does not answer")
        return (503 if found.colour == "red" else 200), found.as_dict()

    def close(self) -> None:
        self._database.close_sync()


def _red(reason: str) -> Reply:
    return 503, {"colour": "red", "reason": reason, "findings": []}


class Probes:
    """The HTTP server. Made before the worker begins, so that a port that is taken is said at once; `reading` comes later."""

    def __init__(self, address: Address, vitals: Vitals) -> None:
        self.reading: Reading | None = None
        routes: dict[str, Callable[[], Reply]] = {
            "/livez": lambda: _checked(vitals.alive()),
            "/readyz": lambda: _checked(vitals.ready()),
            "/healthz": lambda: _checked(vitals.ready()),
            "/health": lambda: self.reading.reply() if self.reading else _red("the worker has not begun yet"),
        }
        self._server = _listen(address, routes)
        self.address = Address(address.host, self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._server.serve_forever, args=[0.1], name="howdah-probes", daemon=True).start()

    def stop(self) -> None:
        """Answer no more. Waits for a moment."""
        self._server.shutdown()
        self._server.server_close()
        if self.reading is not None:
            self.reading.close()


def check_free(address: Address) -> None:
    """Raises HowdahError if nobody could listen there."""
    if address.port:
        _listen(address, {}).server_close()


def _checked(answer: Answer) -> Reply:
    checks = {name: wrong or "ok" for name, wrong in answer.checks.items()}
    return (200 if answer.passes else 503), {"ok": answer.passes, "checks": checks}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # whoever reads slowly must not keep the worker from ending

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # not HTTPServer's, which asks the network for a name of this machine
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a probe went wrong", exc_info=True)


def _listen(address: Address, routes: dict[str, Callable[[], Reply]]) -> _Server:
    class Handler(_Handler):
        pass

    Handler.routes = routes
    try:
        family, _, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]

        class Server(_Server):
            address_family = family

        return Server(where[:2], Handler)  # pyright: ignore[reportArgumentType]
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        said = getattr(error, "strerror", None) or str(error)
        raise HowdahError(
            f"health: cannot listen on {address}: {said}",
            hint="Give another address: health=HOST:PORT, --health HOST:PORT",
        ) from error


class _Handler(BaseHTTPRequestHandler):
    routes: dict[str, Callable[[], Reply]]
    timeout = 5.0  # a request that takes longer to arrive is none
    server_version = "howdah"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        route = self.routes.get(path)
        if route is None:
            self._send(404, {"error": f"there is {', '.join(self.routes)}"})
        else:
            self._send(*route())

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self._send(405, {"error": "GET or HEAD"}, Allow="GET, HEAD")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _send(self, status: int, body: dict[str, Any], **headers: str) -> None:
        data = msgspec.json.encode(body) + b"\n"
        self.send_response(status)
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(data)), "Cache-Control": "no-store"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # a line for every probe helps nobody
        pass
