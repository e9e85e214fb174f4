"""Which addresses Callsheet connects to on a requester's word: mezzanines, subtitle files, webhooks.

``https://`` to public addresses, and whatever origins an operator allows (``CALLSHEET_ALLOWED_ORIGINS``, the only way
to ``http://`` and to internal hosts). A name is resolved once per connection and the connection goes to the address
that was checked: a name server that answers differently the second time gains nothing. A redirect is followed only
within its own origin.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from include.base.errors import RequestRejected
from include.base.settings import MediaSettings
from include.base.text import origin_of

MAX_REDIRECTS = 5
CONNECT_LIMIT_S = 15.0
"""For all addresses of a name together."""
MOST_TRIED = 4
"""Addresses of a name that are tried one after the other, each for its part of the time: a name can have hundreds."""
_DEFAULT_PORTS = {"https": 443, "http": 80}
_EMBEDS_IPV4 = tuple(
    ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
"""NAT64, 6to4 and Teredo carry an IPv4 address inside, which may be private."""

Origin = tuple[str, str, int]

# It tells every address that is asked, with its query: tokens of mezzanines and of webhooks among them.
logging.getLogger("httpx").setLevel(logging.WARNING)


class AddressRefused(RequestRejected):
    """The address policy forbids this address."""

    def __init__(self, message: str, *, reason: str | None = "forbidden_address") -> None:
        super().__init__(message, reason=reason)


def check_address(url: str, settings: MediaSettings) -> None:
    """Refuse an address that the policy forbids, without connecting.

    A name that does not resolve right now passes: the connection decides, by the same policy.
    """
    parsed = _parsed(url)
    if not _allowed(parsed, settings):
        try:
            _checked(parsed.raw_host.decode("ascii"), _origin(parsed)[2])
        except httpx.ConnectError:
            return


def pinned_client(settings: MediaSettings, *, timeout_s: float) -> httpx.Client:
    """A client that connects only where the policy allows.

    Its requests raise :class:`AddressRefused`, or httpx's own errors.

    Args:
        settings: For the allowed origins.
        timeout_s: Limit for each wait on the network; the caller bounds the whole.
    """
    return httpx.Client(
        transport=_PinnedTransport(settings),
        timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_LIMIT_S, timeout_s)),
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        # A proxy from the environment would resolve the name itself, past the policy.
        trust_env=False,
    )


@contextmanager
def cut_off(seconds: float) -> Iterator[dict[str, Any]]:
    """Request extensions by which the connection is cut after ``seconds``.

    httpx limits each wait alone: a server that sends a byte now and then would hold the request for hours. To whoever
    reads an answer that says no length, the cut looks like its end: they look at the clock.
    """
    sockets: list[socket.socket] = []
    expired = threading.Event()

    def cut() -> None:
        expired.set()
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already

    def trace(name: str, info: dict[str, Any]) -> None:
        if name == "connection.connect_tcp.complete":
            sockets.append(info["return_value"].get_extra_info("socket"))
            if expired.is_set():
                cut()

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield {"trace": trace}
    finally:
        timer.cancel()


class _PinnedTransport(httpx.BaseTransport):
    """Connects to the address that was checked, and keeps the name for Host, SNI and the certificate."""

    def __init__(self, settings: MediaSettings) -> None:
        self.settings = settings
        # No connection is kept: the pool knows connections by address, a certificate is checked for one name.
        self.inner = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = _parsed(str(request.url))
        host = url.raw_host.decode("ascii")
        port = _origin(url)[2]
        addresses = _resolved(host, port) if _allowed(url, self.settings) else _checked(host, port)
        response = self._connect(request, host, addresses)
        if response.has_redirect_location:
            target = request.url.join(response.headers["location"])
            if target.userinfo or _origin(target) != _origin(url):
                response.close()
                raise AddressRefused(f"{_shown(url)} redirects to another origin, {_shown(target)}: not followed")
        return response

    def _connect(self, request: httpx.Request, host: str, addresses: Sequence[str]) -> httpx.Response:
        failure: httpx.TransportError = httpx.ConnectError(f"{host} has no address")
        limits = request.extensions.get("timeout", {})
        end = time.monotonic() + (limits.get("connect") or CONNECT_LIMIT_S)
        tried = addresses[:MOST_TRIED]
        for position, address in enumerate(tried):
            left_s = (end - time.monotonic()) / (len(tried) - position)
            if left_s <= 0:
                break
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={
                    **request.extensions,
                    "sni_hostname": host,
                    "timeout": {**limits, "connect": left_s},
                },
            )
            try:
                return self.inner.handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    def close(self) -> None:
        self.inner.close()


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AddressRefused(f"{origin_of(url)!a} is not an address: {str(error).partition(':')[0]}") from error
    if parsed.scheme not in _DEFAULT_PORTS or not parsed.host:
        raise AddressRefused(f"{origin_of(url)!a} is not an https address of a host")
    if parsed.userinfo:
        raise AddressRefused(f"{_shown(parsed)}: no credentials inside an address, they would end in logs")
    return parsed


def _allowed(url: httpx.URL, settings: MediaSettings) -> bool:
    """Whether an operator allows the origin; refuses plain http elsewhere."""
    if _origin(url) in {_origin(httpx.URL(allowed)) for allowed in settings.allowed_origins}:
        return True
    if url.scheme != "https":
        raise AddressRefused(
            f"{_shown(url)}: http:// is used only for origins on CALLSHEET_ALLOWED_ORIGINS; use https://"
        )
    return False


def _origin(url: httpx.URL) -> Origin:
    return url.scheme, url.raw_host.decode("ascii").rstrip("."), url.port or _DEFAULT_PORTS.get(url.scheme, 0)


def _checked(host: str, port: int) -> list[str]:
    """The addresses of ``host``; refused when one of them is not public."""
    addresses = _resolved(host, port)
    for address in addresses:
        if not is_public(address):
            raise AddressRefused(
                f"{host} resolves to {address}, which is not a public address; an operator can put its origin on "
                "CALLSHEET_ALLOWED_ORIGINS"
            )
    return addresses


def _resolved(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"{host} does not resolve: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether ``address`` belongs to the public internet, with no IPv4 address hidden inside an IPv6 one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed.ipv4_mapped is not None or parsed.is_site_local or any(parsed in network for network in _EMBEDS_IPV4)
    ):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _shown(url: httpx.URL) -> str:
    """The origin of an address: path, query and credentials may hold secrets."""
    return f"{url.scheme}://{url.raw_host.decode('ascii')}{f':{url.port}' if url.port else ''}"
