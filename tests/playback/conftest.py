"""A packaged set on one origin, players on another, and a real Chromium between them."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.clips import Clips
from tests.node import node_modules
from tests.requirements import require
from tests.titles import Title, fast, make_title

PAGES = Path(__file__).parent / "pages"
SUBTITLES = """1
00:00:01,000 --> 00:00:03,000
Hello

2
00:00:08,000 --> 00:00:10,000
<i>Goodbye</i> & thanks
"""
WAIT_MS = 30_000


class Handler(SimpleHTTPRequestHandler):
    """Serves folders by the first part of the path, readable from every origin."""

    def __init__(self, *arguments: Any, folders: dict[str, Path], **options: Any) -> None:
        self.folders = folders
        super().__init__(*arguments, **options)

    def translate_path(self, path: str) -> str:
        first, _, rest = path.partition("?")[0].lstrip("/").partition("/")
        folder = self.folders.get(first)
        return str(folder / rest) if folder and ".." not in rest else str(PAGES / "no-such-file")

    def guess_type(self, path: Any) -> str:
        types = {".m3u8": "application/vnd.apple.mpegurl", ".mpd": "application/dash+xml", ".m4s": "video/iso.segment"}
        return types.get(Path(str(path)).suffix) or super().guess_type(path)

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        # A player that seeks hangs up on what it has asked for.
        with contextlib.suppress(ConnectionError):
            super().copyfile(source, outputfile)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


def serve(folders: dict[str, Path]) -> Iterator[str]:
    """The address of a server of these folders."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, folders=folders))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def packaged(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Title:
    """Fourteen seconds at 24000/1001, two languages, subtitles, H.264 and VP9 in two rungs each."""
    folder = tmp_path_factory.mktemp("playback")
    clip = clips("playback.mp4", seconds=14, size="426x240", rate="24000/1001", languages=("eng", "ger"))
    subtitles = clip.with_name("playback.srt")
    subtitles.write_text(SUBTITLES)
    title = make_title(
        folder,
        clip,
        codecs=("h264", "vp9"),
        change=fast,
        name='Night & <b onclick="x">Day</b>',
        subtitles=[{"uri": subtitles.as_uri(), "language": "en"}],
    )
    node_modules()
    title.package(title.check(), progressive=True)
    return title


@pytest.fixture(scope="session")
def media(packaged: Title) -> Iterator[str]:
    """Where the set lies."""
    yield from (f"{address}/set" for address in serve({"set": packaged.folder}))


@pytest.fixture(scope="session")
def players() -> Iterator[str]:
    """Where the players lie: another origin."""
    yield from serve({"pages": PAGES, "node_modules": node_modules()})


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, which plays H.264. As long as it runs nobody else's event loop does in this process."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    executable = require("Chromium with H.264", "apt-get install chromium", path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh page; it must end without an error in its console."""
    context = chromium.new_context(viewport={"width": 1180, "height": 900})
    fresh = context.new_page()
    fresh.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    fresh.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    fresh.on("pageerror", lambda error: errors.append(str(error)))
    yield fresh
    context.close()
    assert errors == []
