"""Fixtures of the media core: contexts on a store of their own, and a local server."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from include.domain.media.media import Inspection
from include.stages.core import StageContext
from include.stages.inspect import inspect
from tests.clips import stage_context

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """A server on this machine that answers by path and remembers what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(Host header, path) of each request."""
    port: int = 0

    def url(self, path: str, *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, path: str, body: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
        """Answer ``path`` with ``body``; ``length`` may promise more than comes, below zero promises nothing."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            promised = len(body) if length is None else length
            if promised >= 0:
                handler.send_header("Content-Length", str(promised))
            if promised != len(body):  # only the end of the connection ends it
                handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer


def start_server(context: ssl.SSLContext | None = None) -> tuple[Server, ThreadingHTTPServer]:
    """Start a server on a free port."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        """A client may keep the connection for its next request."""

        def do_GET(self) -> None:
            server.asked.append((self.headers["Host"], self.path))
            try:
                server.answers[self.path](self)
            except (ConnectionError, KeyError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        http.socket = context.wrap_socket(http.socket, server_side=True)
    server.port = http.server_address[1]
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    return server, http


@pytest.fixture
def server() -> Iterator[Server]:
    """A plain HTTP server."""
    server, http = start_server()
    yield server
    http.shutdown()
    http.server_close()


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., StageContext]:
    """A context for a mezzanine: a store, a scratch folder and a title of its own for each call."""
    made = 0

    def make(mezzanine: Path | str, **options: Any) -> StageContext:
        nonlocal made
        made += 1
        folder = tmp_path / f"context{made}"
        folder.mkdir()
        return stage_context(folder, mezzanine, **options)  # type: ignore[no-any-return]  # declared Any for its users

    return make


def inspected(ctx: StageContext) -> Inspection:
    """The result of the stage ``inspect``."""
    result = inspect.function(ctx, ctx.title)
    assert isinstance(result, Inspection)
    return result
