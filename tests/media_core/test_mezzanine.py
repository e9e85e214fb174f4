from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from include.adapters import arrival
from include.adapters.arrival import look_at
from include.adapters.fetching import fetch
from include.adapters.mezzanine import forget_copy, identify, open_identified, open_mezzanine
from include.base import counting
from include.base.errors import ConfigurationError, MezzanineRejected, MezzanineUnreachable, StorageError
from include.base.settings import Settings
from include.domain.media.rejection import Reason
from include.stages.core import StageContext
from tests.clips import Clips
from tests.media_core.conftest import Server, inspected
from tests.s3 import S3, Asked, Fault, s3_server

Context = Callable[..., StageContext]


def reason_of(ctx: StageContext) -> str | None:
    with pytest.raises(MezzanineRejected) as caught:
        identify(ctx)
    return caught.value.reason


def test_a_file_is_read_where_it_lies_while_it_stays_the_same(clips: Clips, context: Context, tmp_path: Path) -> None:
    path = tmp_path / "a b%20c.mp4"
    path.write_bytes(clips("served-plain.mp4").read_bytes())
    ctx = context(path)
    inspection = inspected(ctx)

    assert str(path) == open_mezzanine(ctx, inspection).address
    os.utime(path, ns=(1, 1))
    with pytest.raises(MezzanineRejected, match="the mezzanine changed") as caught:
        open_mezzanine(ctx, inspection)
    assert caught.value.reason == Reason.CHANGED
    assert "last written 1970-01-01 00:00:00.000000 UTC, now" in caught.value.message
    assert inspection.mezzanine.marker not in caught.value.message
    beyond = inspection.mezzanine.model_copy(update={"marker": str(10**21)})
    with pytest.raises(MezzanineRejected, match="last written 1000000000000 s after 1970, when it was inspected"):
        open_identified(ctx, beyond)
    path.unlink()
    with pytest.raises(MezzanineRejected, match="the mezzanine changed"):
        open_mezzanine(ctx, inspection)


def test_links_and_dots_do_not_lead_out_of_the_roots(context: Context, tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.mp4"
    root.mkdir()
    secret.write_bytes(b"secret")
    (root / "link.mp4").symlink_to(secret)
    (root / "inside.mp4").write_bytes(b"x")
    (root / "good.mp4").symlink_to(root / "inside.mp4")
    settings = {"settings": {"mezzanine_roots": (root,)}}

    for uri in (
        f"file://{root}/link.mp4",
        f"file://{root}/../secret.mp4",
        f"file://{root}/%2e%2e/secret.mp4",
        f"file://{secret}",
        f"file://otherhost{root}/inside.mp4",
        f"file://{root}/inside.mp4%00",
        "file:///etc/passwd",
    ):
        assert reason_of(context(uri, **settings)) == Reason.FORBIDDEN_ADDRESS, uri
    assert identify(context(f"file://{root}/good.mp4", **settings)).size_bytes == 1
    assert reason_of(context(f"file://{root}", **settings)) == Reason.INVALID_TYPE


def test_a_pipe_is_no_mezzanine(context: Context, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")

    assert reason_of(context(tmp_path / "pipe.mp4")) == Reason.INVALID_TYPE


def test_a_file_beyond_the_limit_is_refused_with_the_text_that_users_know(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(3_000_000)

    with pytest.raises(MezzanineRejected, match=r"^File too large: ") as caught:
        identify(context(path, settings={"max_file_size": 2_000_000}))
    assert caught.value.reason == Reason.TOO_LARGE


def test_an_https_mezzanine_is_copied_once_and_read_from_the_store(
    clips: Clips, context: Context, server: Server
) -> None:
    data = clips("served-plain.mp4").read_bytes()
    server.serve("/a.mp4?token=abc", data)
    ctx = context(server.url("/a.mp4?token=abc"), settings={"allowed_origins": (server.origin,)})

    inspection = inspected(ctx)

    assert data == Path(open_mezzanine(ctx, inspection).address).read_bytes()
    assert inspection.mezzanine.uri.startswith(ctx.store.uri)
    assert inspection == inspected(ctx)
    assert len(server.asked) == 1
    forget_copy(ctx)
    with pytest.raises(MezzanineRejected, match="the mezzanine changed"):
        open_mezzanine(ctx, inspection)
    inspected(ctx)
    assert len(server.asked) == 2


@pytest.mark.parametrize("promised", [True, False], ids=["whose length is known", "whose length nobody says"])
def test_a_slow_copy_over_http_tells_how_far_it_is(
    promised: bool, context: Context, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "EVERY_S", 0.05)
    piece, count = bytes(1024**2), 8

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header(*(("Content-Length", str(count * len(piece))) if promised else ("Connection", "close")))
        handler.end_headers()
        for _ in range(count):
            time.sleep(0.1)
            handler.wfile.write(piece)

    server.answers["/a"] = slowly
    ctx = context(server.url("/a"), settings={"allowed_origins": (server.origin,)})
    told: list[tuple[float, str]] = []

    identify(ctx, lambda share, message: told.append((share, message)))

    fetching = [(share, words) for share, words in told if words.startswith("fetching the mezzanine: ")]
    assert len({words for _, words in fetching}) >= count - 1
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    if promised:
        assert all(words.endswith(f" of {count} MiB") for _, words in fetching)
        assert len({share for share, _ in fetching}) >= count - 1
    assert told[-1] == (1.0, f"storing the mezzanine: {count} of {count} MiB")


def test_a_copy_from_s3_tells_how_far_it_is(context: Context, media: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "EVERY_S", 0.0)
    told: list[tuple[float, str]] = []

    identify(context(put(media, "a", bytes(5 * 1024**2)), **served(media)), lambda *each: told.append(each))

    for mebibytes in range(1, 6):
        assert (mebibytes / 10, f"fetching the mezzanine: {mebibytes} of 5 MiB") in told


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"status": 404}, MezzanineRejected, "the server answers 404"),
        ({"status": 403}, MezzanineRejected, "the server answers 403"),
        ({"status": 429}, MezzanineUnreachable, "the server answers 429"),
        ({"status": 503}, MezzanineUnreachable, "the server answers 503"),
        ({"length": 500}, MezzanineUnreachable, "received 100 bytes, expected 500"),
        ({"length": 5000}, MezzanineRejected, "^File too large"),
        ({"Content_Encoding": "gzip"}, MezzanineUnreachable, "compressed"),
        ({"status": 302, "Location": "http://127.0.0.1:9/x"}, MezzanineRejected, "redirects to another origin"),
        ({"status": 302, "Location": "/a"}, MezzanineUnreachable, "(?i)redirects"),
    ],
)
def test_what_a_server_answers_decides_whether_trying_again_helps(
    context: Context, server: Server, answer: dict[str, Any], error: type[Exception], words: str
) -> None:
    server.serve("/a", b"x" * 100, **answer)
    ctx = context(server.url("/a"), settings={"allowed_origins": (server.origin,), "max_file_size": 1000})

    with pytest.raises(error, match=words):
        identify(ctx)
    assert list(ctx.scratch.iterdir()) == []


def test_a_body_beyond_the_limit_is_stopped_though_the_server_promised_nothing(
    context: Context, server: Server
) -> None:
    server.serve("/a", b"x" * 2000, length=-1)
    ctx = context(server.url("/a"), settings={"allowed_origins": (server.origin,), "max_file_size": 1000})

    assert reason_of(ctx) == Reason.TOO_LARGE
    assert list(ctx.scratch.iterdir()) == []


def test_a_server_that_is_not_there_may_come_and_a_forbidden_one_may_not(context: Context, server: Server) -> None:
    closed = "http://127.0.0.1:9"

    with pytest.raises(MezzanineUnreachable):
        identify(context(f"{closed}/a", settings={"allowed_origins": (closed,)}))
    assert reason_of(context(server.url("/a"))) == Reason.FORBIDDEN_ADDRESS
    assert reason_of(context("https://127.0.0.1/a")) == Reason.FORBIDDEN_ADDRESS


def test_whether_a_mezzanine_has_arrived_is_seen_without_fetching_it(server: Server, media: S3, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    settings = Settings(
        allowed_origins=(server.origin,), mezzanine_roots=(tmp_path,), mezzanine_buckets=(media.bucket,)
    )
    server.serve("/here", b"x" * 100)
    server.serve("/missing", b"", status=404)
    server.serve("/busy", b"", status=503)
    here = put(media, "here", b"x")
    old, growing = tmp_path / "old", tmp_path / "growing"
    for path, age_s in ((old, 3600), (growing, 0)):
        path.write_bytes(b"x")
        os.utime(path, (now.timestamp() - age_s, now.timestamp() - age_s))

    arrived = {
        uri: look_at(uri, settings, now=now).arrived
        for uri in (
            server.url("/here"),
            server.url("/missing"),
            server.url("/busy"),
            "https://127.0.0.1/forbidden",
            here,
            f"s3://{media.bucket}/missing",
            old.as_uri(),
            growing.as_uri(),
            (tmp_path / "missing").as_uri(),
            "file:///etc/passwd",
        )
    }

    assert list(arrived.values()) == [True, False, False, True, True, False, True, False, False, True]


def trickle(sent: list[int], *, headers: int, most: int = 100) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that comes slowly: so many lines of its header, then bytes of a body without a length, 50 ms each."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.0"
        handler.send_response(200)
        handler.flush_headers()
        for number in range(headers):
            handler.wfile.write(f"X-{number}: a\r\n".encode())
            time.sleep(0.05)
        handler.end_headers()
        while len(sent) < most:
            handler.wfile.write(b"x")
            sent.append(1)
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize("headers", [0, 60], ids=["its body", "its header"])
def test_a_transfer_of_a_byte_now_and_then_is_given_up_in_time(server: Server, tmp_path: Path, headers: int) -> None:
    sent: list[int] = []
    server.answers["/a"] = trickle(sent, headers=headers)

    with pytest.raises(MezzanineUnreachable, match=r"did not arrive within 1 s"):
        fetch(
            server.url("/a"),
            tmp_path / "a",
            Settings(allowed_origins=(server.origin,)),
            limit_bytes=1000,
            limit_s=1.0,
        )
    assert not (tmp_path / "a").exists()
    assert len(sent) < 100


def test_a_mezzanine_whose_answer_never_begins_has_not_arrived_and_one_that_comes_slowly_has(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "LOOK_LIMIT_S", 1.0)
    settings = Settings(allowed_origins=(server.origin,))
    sent: list[int] = []
    server.answers["/slow"], server.answers["/silent"] = trickle(sent, headers=0), trickle([], headers=60)

    assert look_at(server.url("/slow"), settings, now=datetime.now(UTC)).arrived
    assert len(sent) < 10, "one byte is enough to know"
    assert not look_at(server.url("/silent"), settings, now=datetime.now(UTC)).arrived


def test_a_file_can_be_fetched_like_anything_else(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("text")
    settings = Settings(mezzanine_roots=(tmp_path,))

    checksum = fetch((tmp_path / "a.srt").as_uri(), tmp_path / "copy", settings, limit_bytes=10, limit_s=10)

    assert (tmp_path / "copy").read_text() == "text"
    assert checksum.startswith("982d9e3e")
    with pytest.raises(FileExistsError):
        fetch((tmp_path / "a.srt").as_uri(), tmp_path / "copy", settings, limit_bytes=10, limit_s=10)
    assert (tmp_path / "copy").read_text() == "text"
    with pytest.raises(MezzanineRejected, match=r"^File too large"):
        fetch((tmp_path / "a.srt").as_uri(), tmp_path / "other", settings, limit_bytes=3, limit_s=10)
    assert not (tmp_path / "other").exists()
    with pytest.raises(MezzanineRejected, match="ftp:// is not served"):
        fetch("ftp://x/a", tmp_path / "other", settings, limit_bytes=3, limit_s=10)


def test_a_disk_that_takes_no_more_is_the_storages_fault(server: Server, tmp_path: Path) -> None:
    server.serve("/a", b"x" * 100_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StorageError, match="EFBIG"):
            fetch(
                server.url("/a"),
                tmp_path / "a",
                Settings(allowed_origins=(server.origin,)),
                limit_bytes=10**6,
                limit_s=10,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A bucket of mezzanines on an S3 server, found through the environment alone."""
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def served(server: S3, **settings: Any) -> dict[str, Any]:
    return {"settings": {"mezzanine_buckets": (server.bucket,), **settings}}


def put(server: S3, key: str, data: bytes) -> str:
    server.client().put_object(Bucket=server.bucket, Key=key, Body=data)
    return f"s3://{server.bucket}/{key}"


def test_an_s3_mezzanine_is_copied_once(clips: Clips, context: Context, media: S3) -> None:
    data = clips("served-plain.mp4").read_bytes()
    ctx = context(put(media, "in/a b.mp4", data), **served(media))

    inspection = inspected(ctx)
    media.client().delete_object(Bucket=media.bucket, Key="in/a b.mp4")

    assert data == Path(open_mezzanine(ctx, inspection).address).read_bytes()
    assert inspection == inspected(ctx)


def test_mezzanines_come_from_the_buckets_of_the_setting_alone(context: Context, media: S3) -> None:
    uri = put(media, "a", b"x")

    for buckets in ((), ("another",)):
        with pytest.raises(MezzanineRejected, match="CALLSHEET_MEZZANINE_BUCKETS") as caught:
            identify(context(uri, settings={"mezzanine_buckets": buckets}))
        assert caught.value.reason == Reason.FORBIDDEN_ADDRESS
    assert media.asked == []


def test_what_s3_does_not_have_is_missing_and_what_is_too_large_stays_there(context: Context, media: S3) -> None:
    large = put(media, "large", b"x" * 2000)

    assert reason_of(context(f"s3://{media.bucket}/nothing", **served(media))) == Reason.MISSING
    nowhere = {"settings": {"mezzanine_buckets": ("nowhere",)}}
    assert reason_of(context("s3://nowhere/nothing", **nowhere)) == Reason.MISSING
    assert reason_of(context(large, **served(media, max_file_size=1000))) == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("refusal", "error", "reason", "words"),
    [
        ((403, "AccessDenied"), MezzanineRejected, Reason.MISSING, "may not be read by the workers"),
        ((404, "NoSuchKey"), MezzanineRejected, Reason.MISSING, "is missing: .*NoSuchKey"),
        ((403, "InvalidObjectState"), MezzanineRejected, Reason.MISSING, "InvalidObjectState"),
        ((400, "ExpiredToken"), StorageError, "credentials", "renew AWS_ACCESS_KEY_ID"),
        ((403, "SignatureDoesNotMatch"), StorageError, "credentials", "renew AWS_ACCESS_KEY_ID"),
        ((403, "RequestTimeTooSkewed"), StorageError, "clock_skew", "clock"),
        ((400, "AuthorizationHeaderMalformed"), ConfigurationError, None, "AWS_DEFAULT_REGION"),
        ((503, "SlowDown"), MezzanineUnreachable, None, "SlowDown"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_what_s3_says_tells_whose_fault_it_is(
    context: Context, media: S3, monkeypatch: pytest.MonkeyPatch,
    refusal: tuple[int, str], error: type[Exception], reason: str | None, words: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    uri = put(media, "a", b"x" * 100)
    media.decide = lambda asked: refusal
    settings = Settings(**served(media)["settings"])

    with pytest.raises(error, match=words) as caught:
        identify(context(uri, **served(media)))
    assert getattr(caught.value, "reason", None) == reason
    arrived = error is ConfigurationError
    assert look_at(uri, settings, now=datetime.now(UTC)).arrived is arrived


def test_a_body_that_breaks_off_goes_on_from_there(context: Context, media: S3) -> None:
    data = os.urandom(3_000_000)
    ctx = context(put(media, "a", data), **served(media))
    media.decide = lambda asked: Fault.TRUNCATED if asked.method == "GET" and len(media.asked) < 4 else None

    identity = identify(ctx)

    assert Path(open_identified(ctx, identity)).read_bytes() == data
    starts = [asked.headers.get("range", "") for asked in media.asked]
    assert starts == ["", "bytes=1500000-2999999", "bytes=2250000-2999999", "bytes=2625000-2999999"]
    assert all("if-match" in asked.headers for asked in media.asked[1:])


def test_a_mezzanine_that_is_replaced_while_it_is_copied_has_changed(context: Context, media: S3) -> None:
    uri = put(media, "a", b"one" * 1000)

    def replace(asked: Asked) -> Fault | None:
        if "range" in asked.headers:
            put(media, "a", b"two" * 1000)
            return None
        return Fault.TRUNCATED

    media.decide = replace
    with pytest.raises(MezzanineRejected, match="was replaced while it was copied") as caught:
        identify(context(uri, **served(media)))
    assert caught.value.reason == Reason.CHANGED


def test_an_s3_that_does_not_answer_may_answer_later(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "topsecret",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(MezzanineUnreachable) as caught:
        identify(context("s3://media/a", settings={"mezzanine_buckets": ("media",)}))
    assert "topsecret" not in caught.value.message
