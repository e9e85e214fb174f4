"""A real HTTP server that takes webhooks and Slack messages, keeps them, and fails on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Received", BaseHTTPRequestHandler], int | None]
"""Status of the answer to a request; None where it has been answered, or left hanging, already."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """The server's memory, and how it answers."""

    origin: str = ""
    requests: list[Received] = field(default_factory=list)
    answer: Answer = lambda received, handler: 200
    """Replace it to fail."""
    closing: threading.Event = field(default_factory=threading.Event)
    """Set at the end: a hanging answer waits for this instead of for a time."""

    @property
    def types(self) -> list[str]:
        """Types of the webhooks, in order of arrival."""
        return [received.json["type"] for received in self.requests]


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """A running receiver on this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received = Received(path=self.path, headers=dict(self.headers), body=body)
            receiver.requests.append(received)
            status = receiver.answer(received, self)
            if status is not None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"ok")

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.origin = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.closing.set()
            server.shutdown()
            thread.join()
