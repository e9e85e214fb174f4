"""How long and how large a mezzanine is, by its header alone: with the real ffprobe, from files, servers and S3."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from include.adapters import header
from include.adapters.header import read_header
from include.base.settings import Settings
from include.domain.title.request import SourceExtent
from tests.clips import Clips
from tests.media_core.conftest import Server
from tests.s3 import s3_server

CLIP = SourceExtent(duration_s=2.0, width=320, height=180, frame_rate=25.0)
NOTHING = SourceExtent()


def ranged(body: bytes, asked: list[str]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers with the part that is asked for, and notes which that is."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers["Range"])
        first, last = (int(number) for number in re.findall(r"\d+", asked[-1]))
        part = body[first : last + 1]
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(part)))
        handler.end_headers()
        handler.wfile.write(part)

    return answer


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "ends"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["header.mp4", "header.mkv", "header.mov"])
def test_a_file_says_how_long_and_how_large_it_is(name: str, clips: Clips, scratch: Path) -> None:
    path = clips(name)

    seen = read_header(path.as_uri(), Settings(mezzanine_roots=(path.parent,)), scratch)

    # The sound may last a few milliseconds longer.
    assert seen.duration_s == pytest.approx(2.0, abs=0.1)
    assert seen.model_copy(update={"duration_s": 2.0}) == CLIP


def test_what_is_no_mezzanine_says_nothing(tmp_path: Path, clips: Clips, scratch: Path) -> None:
    path = clips("header.mp4")
    (tmp_path / "text.mp4").write_text("not a film")
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[:900])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "linked.mp4").symlink_to(path)
    settings = Settings(mezzanine_roots=(tmp_path,))

    for name in ("text.mp4", "cut.mp4", "empty.mp4", "missing.mp4", "linked.mp4"):
        assert read_header((tmp_path / name).as_uri(), settings, scratch) == NOTHING, name
    assert read_header("https://127.0.0.1/a.mp4", settings, scratch) == NOTHING
    assert read_header("s3://another/a.mp4", settings, scratch) == NOTHING
    assert list(scratch.iterdir()) == []


def test_a_picture_of_an_odd_size_or_rate_keeps_what_a_forecast_can_use(clips: Clips, scratch: Path) -> None:
    path = clips("narrow.mkv", size="8x64", rate="400", seconds=1.0, languages=())

    seen = read_header(path.as_uri(), Settings(mezzanine_roots=(path.parent,)), scratch)

    assert seen.duration_s == pytest.approx(1.0, abs=0.01)
    assert seen.model_copy(update={"duration_s": None}) == SourceExtent(height=64)
    assert not seen.known


def test_of_a_server_the_ends_are_asked_for_and_no_more(
    clips: Clips, server: Server, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index at the end of the file, as most tools leave it, is found there."""
    monkeypatch.setattr(header, "END_BYTES", 8000)
    data = clips("header.mov").read_bytes()
    assert len(data) > 3 * 8000
    asked: list[str] = []
    server.answers["/a.mov"] = ranged(data, asked)

    seen = read_header(server.url("/a.mov"), Settings(allowed_origins=(server.origin,)), scratch)

    assert seen.known
    assert (seen.width, seen.height, seen.frame_rate) == (320, 180, 25.0)
    assert asked == ["bytes=0-7999", f"bytes={len(data) - 8000}-{len(data) - 1}"]
    assert list(scratch.iterdir()) == []


def test_an_index_at_the_beginning_takes_one_request(
    clips: Clips, server: Server, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header, "END_BYTES", 20_000)
    data = clips("quick.mp4", extra=("-movflags", "+faststart")).read_bytes()
    settings, asked = Settings(allowed_origins=(server.origin,)), list[str]()
    server.answers["/ranges"] = ranged(data, asked)
    server.serve("/whole", data)
    server.serve("/unsaid", data, length=-1)

    assert read_header(server.url("/ranges"), settings, scratch).known
    assert read_header(server.url("/whole"), settings, scratch).known, "the server sends all, whatever is asked for"
    assert read_header(server.url("/unsaid"), settings, scratch) == NOTHING
    assert asked == ["bytes=0-19999"]


def test_a_server_that_lies_about_the_size_gains_nothing(
    clips: Clips, server: Server, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header, "END_BYTES", 8000)
    data = clips("header.mov").read_bytes()
    sizes = iter([len(data), 9])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-7999/{next(sizes)}")
        handler.send_header("Content-Length", "8000")
        handler.end_headers()
        handler.wfile.write(data[:8000])

    def vast(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 0-7999/999999999999999999")
        handler.send_header("Content-Length", "8000")
        handler.end_headers()

    server.answers["/a"], server.answers["/b"] = answer, vast
    for path in ("/a", "/b"):
        assert read_header(server.url(path), Settings(allowed_origins=(server.origin,)), scratch) == NOTHING
    assert list(scratch.iterdir()) == []


def test_a_server_that_sends_a_byte_now_and_then_is_left_in_time(
    server: Server, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(header, "LOOK_LIMIT_S", 0.5)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    server.answers["/a"] = trickle
    began = time.monotonic()

    assert read_header(server.url("/a"), Settings(allowed_origins=(server.origin,)), scratch) == NOTHING
    assert time.monotonic() - began < 2


def test_a_file_that_holds_the_tool_is_left_in_time(
    clips: Clips, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_SANDBOX", "off")
    monkeypatch.setattr(header, "LOOK_LIMIT_S", 0.3)
    tool = tmp_path / "ffprobe"
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(0o755)
    path = clips("header.mp4")
    began = time.monotonic()

    assert read_header(path.as_uri(), Settings(mezzanine_roots=(path.parent,), ffprobe=str(tool)), scratch) == NOTHING
    assert time.monotonic() - began < 2


def test_of_an_s3_object_the_ends_are_read(clips: Clips, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "END_BYTES", 8000)
    data = clips("header.mov").read_bytes()
    with s3_server() as s3:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        s3.client().put_object(Bucket=s3.bucket, Key="a b.mov", Body=data)
        settings: Any = Settings(mezzanine_buckets=(s3.bucket,))

        assert read_header(f"s3://{s3.bucket}/a b.mov", settings, scratch).known
        assert read_header(f"s3://{s3.bucket}/missing", settings, scratch) == NOTHING
        wanted = [asked.headers["range"] for asked in s3.asked if asked.method == "GET" and "a b" in asked.path]
    assert wanted == ["bytes=0-7999", f"bytes={len(data) - 8000}-{len(data) - 1}"]
