"""A real S3 server over HTTP (moto's), behind a proxy that makes it fail as the real one does.

The proxy speaks plain HTTP both ways and takes one write at a time, so that conditional writes are as atomic as they
are on S3. Whatever it is asked it remembers.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import random
import socket
import ssl
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.server import ThreadedMotoServer

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "callsheet-tests", "AWS_SECRET_ACCESS_KEY": "planted-s3-secret"}
_WRITES = {"PUT", "POST", "DELETE"}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


class Fault(StrEnum):
    """What can go wrong with one request."""

    RESET = "the connection is reset before the request arrives"
    SILENCE = "no answer, then the connection is closed"
    ERROR = "500 InternalError, nothing took place"
    SLOW_DOWN = "503 SlowDown, nothing took place"
    TRUNCATED = "half of the body, then the connection is closed"
    LATE_ERROR = "500 InternalError, though the write took place"
    LATE_RESET = "the connection is reset, though the write took place"
    ERROR_IN_200 = "200 with an error as its body, nothing took place"


_ANY = [Fault.RESET, Fault.SILENCE, Fault.ERROR, Fault.SLOW_DOWN]
_TEXTS = {"InternalError": "We encountered an internal error. Please try again.", "SlowDown": "Reduce your rate."}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    """Decoded: ``/bucket/key``."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    length: int
    """Bytes of its body."""

    @property
    def copies(self) -> bool:
        """Whether the server copies an object, or a piece of one."""
        return "x-amz-copy-source" in self.headers

    def faults(self) -> list[Fault]:
        """What can happen to a request of this kind."""
        if self.method == "GET":
            return [*_ANY, Fault.TRUNCATED]
        if self.method not in _WRITES:
            return _ANY
        in_200 = self.copies or (self.method == "POST" and "uploadId" in self.query)
        return [*_ANY, Fault.LATE_ERROR, Fault.LATE_RESET, *([Fault.ERROR_IN_200] if in_200 else [])]


Refusal = tuple[int, str]
"""Status and S3's error code, e.g. ``(403, "AccessDenied")``."""
Outcome = Fault | Refusal | bytes | None
"""What becomes of a request; bytes are the body of a 200, without anything having taken place."""


@dataclass
class S3:
    """The server as a test sees it."""

    endpoint: str
    """Of the proxy."""
    upstream: str
    """Of the server behind it: without faults, and not counted."""
    bucket: str
    faults: float
    """Share of requests that go wrong."""
    silence_s: float
    authority: Path | None = None
    """Of the certificate, where the proxy speaks HTTPS."""
    asked: list[Asked] = field(default_factory=list)
    hurt: list[tuple[Asked, Fault]] = field(default_factory=list)
    """The requests that went wrong."""
    decide: Callable[[Asked], Outcome] = lambda asked: None
    """Replace it to choose what goes wrong; the draw decides where it returns None."""
    answered: int = 0
    """Writes that have taken place."""
    closing: threading.Event = field(default_factory=threading.Event)
    chance: random.Random = field(default_factory=random.Random)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def uri(self) -> str:
        """A store's address: a folder of the bucket."""
        return f"s3://{self.bucket}/farm"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach the server through the proxy."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            **({"AWS_CA_BUNDLE": str(self.authority)} if self.authority else {}),
        }

    def client(self) -> Any:
        """boto3's client past the proxy."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.upstream,
            region_name="us-east-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def count(self, method: str, **query: str | None) -> int:
        """Requests of this method that carry these query names; a value of None means any."""
        return sum(
            asked.method == method
            and all(
                name in asked.query and (value is None or asked.query[name] == value) for name, value in query.items()
            )
            for asked in list(self.asked)
        )

    def draw(self, asked: Asked) -> Outcome:
        """What happens to this request."""
        with self.lock:
            self.asked.append(asked)
        fault = self.decide(asked)
        with self.lock:
            if fault is None and self.chance.random() < self.faults:
                fault = self.chance.choice(asked.faults())
            if isinstance(fault, Fault):
                self.hurt.append((asked, fault))
            return fault


@contextmanager
def s3_server(
    *, faults: float = 0.0, seed: int = 0, silence_s: float = 0.5, bucket: str | None = None, tls: Path | None = None
) -> Iterator[S3]:
    """A running server with one empty bucket.

    Args:
        faults: Share of requests that go wrong, e.g. 0.05.
        seed: Of the draws; the order in which threads ask stays their own.
        silence_s: How long an unanswered connection stays open.
        bucket: Its name; None for one of its own (servers of one process share their buckets).
        tls: An empty folder, to speak HTTPS with a certificate that only :attr:`S3.authority` vouches for.
    """
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    upstream = "http://{}:{}".format(*moto.get_host_and_port())
    server = S3(
        endpoint="",
        upstream=upstream,
        bucket=bucket or f"callsheet-{uuid.uuid4().hex[:12]}",
        faults=faults,
        silence_s=silence_s,
        chance=random.Random(seed),
    )
    server.client().create_bucket(Bucket=server.bucket)
    context = None
    if tls is not None:
        server.authority = _certificate(tls)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.authority)
    with _Proxy(server, context) as proxy:
        server.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{proxy.server_address[1]}"
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            proxy.shutdown()
            thread.join()
            moto.stop()


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1, its own authority, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "authority.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return path


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: S3, tls: ssl.SSLContext | None) -> None:
        self.s3 = server
        self.tls = tls
        self.writing = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy
    request: socket.socket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.connection.close()

    def handle_any(self) -> None:
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(
            method=self.command,
            path=unquote(address.path),
            query=dict(parse_qsl(address.query, keep_blank_values=True)),
            headers=headers,
            length=int(headers.get("content-length", 0)),
        )
        fault = self.server.s3.draw(asked)
        if fault is Fault.RESET:
            return self._reset()
        body = self._body(headers)
        if isinstance(fault, tuple):
            return self._refuse(*fault)
        if isinstance(fault, bytes):
            return self._answer(200, [("Content-Type", "application/xml")], fault)
        if fault is Fault.ERROR:
            return self._refuse(500, "InternalError")
        if fault is Fault.SLOW_DOWN:
            return self._refuse(503, "SlowDown")
        if fault is Fault.ERROR_IN_200:
            return self._refuse(200, "InternalError")
        if fault is Fault.SILENCE:
            self.server.s3.closing.wait(self.server.s3.silence_s)
            return self._close()
        status, answered, content = self._forward(body)
        if fault is Fault.LATE_ERROR:
            return self._refuse(500, "InternalError")
        if fault is Fault.LATE_RESET:
            return self._reset()
        self._answer(status, answered, content, cut=fault is Fault.TRUNCATED)
        return None

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815  # the names that http.server calls

    def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", ""):
            return self.rfile.read(int(headers.get("content-length", 0)))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        host = urlsplit(self.server.s3.upstream).netloc
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            # One write at a time: the server checks a condition and writes in two steps.
            with self.server.writing if self.command in _WRITES else nullcontext():
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
                self.server.s3.answered += self.command in _WRITES
                return answer.status, answer.getheaders(), content
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        length = lengths[0] if self.command == "HEAD" and lengths else str(len(content))
        if status != http.client.NO_CONTENT:
            self.send_header("Content-Length", length)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._close()

    def _refuse(self, status: int, code: str) -> None:
        text = _TEXTS.get(code, code)
        content = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'
        self._answer(status, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else content.encode())

    def _reset(self) -> None:
        # Without lingering the kernel sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close(now=True)

    def _close(self, *, now: bool = False) -> None:
        self.close_connection = True
        if now:
            self.rfile.close()
            self.connection.close()
        else:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments: Any) -> None:
        """Stay quiet."""
