from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from include.adapters.addresses import AddressRefused, check_address, is_public, pinned_client
from include.base.settings import Settings
from tests.media_core.conftest import Server, start_server

NOBODY = Settings()
Names = Callable[[dict[str, list[list[str]]]], list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Name service of a test: each name answers its lists one after the other. Returns the log of lookups."""
    real = socket.getaddrinfo

    def install(answers: dict[str, list[list[str]]]) -> list[str]:
        asked: list[str] = []

        def lookup(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name not in answers:
                return real(host, port, *args, **kwargs)
            asked.append(name)
            turns = answers[name]
            found = turns.pop(0) if len(turns) > 1 else turns[0]
            if not found:
                raise socket.gaierror("no such name")
            return [
                (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
                for each in found
            ]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        return asked

    return install


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:8.8.8.8",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:0:a00:1::",
        "2001:db8::1",
    ],
)
def test_an_address_inside_somebodys_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/a.mp4", "http:// is used only for origins on CALLSHEET_ALLOWED_ORIGINS"),
        ("ftp://example.com/a", "not an https address"),
        ("https:///a", "not an https address"),
        ("https://user:secret@example.com/a", "no credentials inside an address"),
        ("https://[::1/a", "is not an address"),
        ("https://127.0.0.1/a", "not a public address"),
        ("https://2130706433/a", "not a public address"),
        ("https://0x7f.1/a", "not a public address"),
        ("https://[::ffff:127.0.0.1]/a", "not a public address"),
        ("https://localhost/a", "not a public address"),
    ],
)
def test_an_address_is_refused_before_anything_connects(url: str, words: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_address(url, NOBODY)

    assert words in caught.value.message
    assert caught.value.reason == "forbidden_address"
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("rest", ["/t0ken", "?t0ken", "#t0ken", "/\x00t0ken", "/a@t0ken"])
@pytest.mark.parametrize(
    "origin",
    ["http://example.com", "ftp://example.com", "https://", "https://u:t0ken@example.com", "https://[::1",
     "https://u:t0ken@[::1", "https://example.com:t", "https://127.0.0.1"],
)  # fmt: skip
def test_a_refusal_tells_the_origin_alone_of_an_address_whose_rest_may_be_a_secret(origin: str, rest: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_address(origin + rest, NOBODY)

    assert "t0ken" not in caught.value.message


def test_a_redirect_is_told_by_origins_alone(server: Server) -> None:
    server.serve("/t0ken", b"", status=302, Location="https://8.8.8.8/t0ken?t0ken")

    with (
        pinned_client(Settings(allowed_origins=(server.origin,)), timeout_s=5) as client,
        pytest.raises(AddressRefused, match=r"redirects to another origin, https://8\.8\.8\.8: not followed") as caught,
    ):
        client.get(server.url("/t0ken"))
    assert "t0ken" not in caught.value.message


def test_a_name_with_one_private_address_among_public_ones_is_refused(names: Names) -> None:
    names({"mixed.test": [["8.8.8.8", "10.0.0.7"]]})

    with pytest.raises(AddressRefused, match=r"10\.0\.0\.7"):
        check_address("https://mixed.test/a", NOBODY)


def test_a_public_name_passes_and_an_unknown_one_is_left_to_the_connection(names: Names) -> None:
    names({"public.test": [["8.8.8.8"]], "unknown.test": [[]]})

    check_address("https://public.test/a", NOBODY)
    check_address("https://unknown.test/a", NOBODY)
    with pinned_client(NOBODY, timeout_s=5) as client, pytest.raises(httpx.ConnectError, match="does not resolve"):
        client.get("https://unknown.test/a")


def test_an_allowed_origin_is_scheme_host_and_port_together(server: Server) -> None:
    server.serve("/a", b"here")
    allowed = Settings(allowed_origins=(server.origin,))

    with pinned_client(allowed, timeout_s=5) as client:
        assert client.get(server.url("/a")).content == b"here"
    check_address(server.url("/b"), allowed)
    for url in (f"http://127.0.0.1:{server.port + 1}/a", f"https://127.0.0.1:{server.port}/a", "http://127.0.0.1/a"):
        with pytest.raises(AddressRefused):
            check_address(url, allowed)


def test_the_client_itself_refuses_what_is_not_allowed(server: Server) -> None:
    server.serve("/a", b"here")

    with pinned_client(NOBODY, timeout_s=5) as client, pytest.raises(AddressRefused):
        client.get(server.url("/a"))
    assert server.asked == []


def test_a_name_is_resolved_once_and_the_connection_goes_where_the_check_looked(server: Server, names: Names) -> None:
    server.serve("/a", b"here")
    asked = names({"rebind.test": [["127.0.0.1"], ["192.0.2.1"]]})
    allowed = Settings(allowed_origins=(f"http://rebind.test:{server.port}",))

    with pinned_client(allowed, timeout_s=5) as client:
        answer = client.get(server.url("/a", host="rebind.test"))

    assert answer.content == b"here"
    assert asked == ["rebind.test"]
    assert [(f"rebind.test:{server.port}", "/a")] == server.asked


def test_every_connection_is_checked_anew(names: Names) -> None:
    names({"turned.test": [["8.8.8.8"], ["127.0.0.1"]]})

    check_address("https://turned.test/a", NOBODY)
    with pinned_client(NOBODY, timeout_s=5) as client, pytest.raises(AddressRefused):
        client.get("https://turned.test/a")


def test_the_next_address_of_a_name_is_tried_when_one_is_dead(server: Server, names: Names) -> None:
    server.serve("/a", b"here")
    names({"two.test": [["127.0.0.2", "127.0.0.1"]]})
    allowed = Settings(allowed_origins=(f"http://two.test:{server.port}",))

    with pinned_client(allowed, timeout_s=5) as client:
        assert client.get(server.url("/a", host="two.test")).content == b"here"


def test_the_silent_addresses_of_a_name_share_one_time_limit(names: Names) -> None:
    names({"media.test": [[f"127.0.0.{number}" for number in range(2, 32)]]})
    limits_s: list[float] = []

    def trace(name: str, info: dict[str, Any]) -> None:
        if name == "connection.connect_tcp.started":
            limits_s.append(info["timeout"])

    with contextlib.ExitStack() as open_sockets:
        full = open_sockets.enter_context(socket.socket())
        full.bind(("", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(3):  # nobody accepts: further connections wait for ever
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        origin = f"http://media.test:{port}"
        client = open_sockets.enter_context(pinned_client(Settings(allowed_origins=(origin,)), timeout_s=1))
        with pytest.raises(httpx.ConnectTimeout):
            client.get(f"{origin}/a", extensions={"trace": trace})

    assert 1 < len(limits_s) < 30
    assert sum(limits_s) <= 1.0


def test_a_redirect_within_the_origin_is_followed(server: Server) -> None:
    server.serve("/a", b"", status=302, Location="/b")
    server.serve("/b", b"there")

    with pinned_client(Settings(allowed_origins=(server.origin,)), timeout_s=5) as client:
        assert client.get(server.url("/a")).content == b"there"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest",
        "http://127.0.0.1:1/x",
        "https://8.8.8.8/x",
        "//localhost/x",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_elsewhere_is_refused(server: Server, target: str) -> None:
    server.serve("/a", b"", status=302, Location=target)

    with (
        pinned_client(Settings(allowed_origins=(server.origin,)), timeout_s=5) as client,
        pytest.raises(AddressRefused, match="redirects to another origin"),
    ):
        client.get(server.url("/a"))


def test_a_redirect_between_two_allowed_origins_is_refused_as_well(server: Server) -> None:
    other, http = start_server()
    try:
        server.serve("/a", b"", status=302, Location=other.url("/b"))
        allowed = Settings(allowed_origins=(server.origin, other.origin))

        with pinned_client(allowed, timeout_s=5) as client, pytest.raises(AddressRefused):
            client.get(server.url("/a"))
        assert other.asked == []
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An HTTPS server whose certificate is for ``media.test`` alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "media.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("media.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server, http = start_server(context)
    yield server
    http.shutdown()
    http.server_close()


def test_the_certificate_is_checked_for_the_name_though_the_connection_goes_to_an_address(
    secure: Server, names: Names
) -> None:
    secure.serve("/a", b"here")
    names({"media.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]})
    origins = tuple(f"https://{host}:{secure.port}" for host in ("media.test", "other.test"))

    with pinned_client(Settings(allowed_origins=origins), timeout_s=5) as client:
        assert client.get(secure.url("/a", scheme="https", host="media.test")).content == b"here"
        # Both names are one address: a connection that was kept would not ask for the certificate again.
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            client.get(secure.url("/a", scheme="https", host="other.test"))


def test_a_proxy_of_the_environment_does_not_get_around_the_policy(
    server: Server, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, http = start_server()
    try:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        address = server.url("/a", host="media.test")
        names({"media.test": [["127.0.0.1"]]})
        server.serve("/a", b"here")
        proxy.serve(address, b"from the proxy")
        # The variables mean this proxy to whoever heeds them.
        assert httpx.get(address).content == b"from the proxy"
        proxy.asked.clear()

        with pinned_client(Settings(allowed_origins=(f"http://media.test:{server.port}",)), timeout_s=5) as client:
            assert client.get(address).content == b"here"
        assert proxy.asked == []
    finally:
        http.shutdown()
        http.server_close()


def test_the_table_of_private_networks_covers_what_python_calls_private() -> None:
    networks = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")

    assert not any(is_public(str(ipaddress.ip_network(each)[5])) for each in networks)
