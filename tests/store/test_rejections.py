"""What is told of a mezzanine that is refused speaks of the address that the request gave, and of no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from include.adapters.mezzanine import called_as_requested
from include.adapters.tools import ffmpeg
from include.base.errors import MezzanineRejected
from include.base.settings import Settings
from include.domain.media.rejection import Reason
from include.stages.core import StageContext
from include.stages.inspect import inspect
from include.stages.verify_source import verify_source
from tests.clips import Clips, stage_context
from tests.s3 import S3

Planted = Callable[[str], str]
WORDS = [
    "Error opening input file $1.",
    "$1: Invalid data found when processing input",
    "cannot read '$1' to its end",
    "file:$1: odd, and odd again: $1",
    "HTTP error 404 from ${1%%/farm*}",
]
"""What a tool may say, with the address that it was given as ``$1``. An editor is told its meaning, not its words."""


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """An ffmpeg that says what it is told of its input, and fails; for its version it is the real one."""

    def plant(words: str) -> str:
        path = tmp_path / "planted"
        path.write_text(
            f'#!/bin/sh\n[ "$1" = -version ] && exec "{ffmpeg(Settings())}" -version\n'
            'while [ "$1" != -i ]; do shift; done; shift\n'
            f'echo "[in#0 @ 0x1] [error] {words}" >&2\nexit 1\n'
        )
        path.chmod(0o755)
        return str(path)

    return plant


def rejected(stage: Any, ctx: Any, *documents: Any) -> str:
    with pytest.raises(MezzanineRejected) as caught:
        stage.function(ctx, ctx.title, *documents)
    return caught.value.message


def reworded(ctx: StageContext, words: str, address: str) -> list[str]:
    """What becomes of a rejection that quotes a tool's words about the address that it was given."""
    short = words.replace("${1%%/farm*}", address.partition("/farm")[0])
    with pytest.raises(MezzanineRejected) as caught, called_as_requested(ctx):
        raise MezzanineRejected(short.replace("$1", address), reason=Reason.UNDECODABLE)
    return [caught.value.message]


@pytest.mark.parametrize("words", WORDS)
def test_a_copy_in_the_store_is_called_as_the_request_calls_it(
    words: str, s3: S3, planted: Planted, clips: Clips, tmp_path: Path
) -> None:
    uri = f"s3://{s3.bucket}/incoming/secret-plan.mp4"
    clip = clips("rejected.mp4", seconds=0.4, size="96x64", languages=())
    s3.client().put_object(Bucket=s3.bucket, Key="incoming/secret-plan.mp4", Body=clip.read_bytes())
    given = {"store_uri": s3.uri, "mezzanine_buckets": (s3.bucket,)}
    ctx = stage_context(tmp_path, uri, settings={**given, "ffmpeg": planted(words)})
    sound = inspect.function(stage_context(tmp_path, uri, settings=given), ctx.title)

    told = [rejected(inspect, ctx), rejected(verify_source, ctx, sound)]

    for message in told:
        for internal in (urlsplit(s3.endpoint).netloc, "source.bin", "X-Amz", "/work/", str(tmp_path), "…"):
            assert internal not in message, message
    assert "no frame of it can be decoded" in told[0]
    for message in reworded(ctx, words, ctx.store.readable(ctx.kept_key("mezzanine/source.bin"))):
        for internal in (urlsplit(s3.endpoint).netloc, "source.bin", "X-Amz", "/work/", str(tmp_path), "…"):
            assert internal not in message, message
        assert uri in message or "the store" in message


@pytest.mark.parametrize("words", WORDS[:-1])
def test_a_file_is_called_by_its_address_and_no_other_way(
    words: str, planted: Planted, clips: Clips, tmp_path: Path
) -> None:
    clip = clips("rejected.mp4", seconds=0.4, size="96x64", languages=())
    ctx = stage_context(tmp_path, clip, settings={"ffmpeg": planted(words)})

    message = rejected(inspect, ctx)

    assert "no frame of it can be decoded" in message
    (told,) = reworded(ctx, words, str(clip))
    assert clip.as_uri() in told
    for text in (message, told):
        assert str(clip) not in text.replace(clip.as_uri(), "")
        assert "file://file" not in text


def test_a_link_does_not_say_where_it_leads(planted: Planted, clips: Clips, tmp_path: Path) -> None:
    clip = clips("rejected.mp4", seconds=0.4, size="96x64", languages=())
    link = tmp_path / "in" / "link.mp4"
    link.parent.mkdir()
    link.symlink_to(clip)
    roots = {"mezzanine_roots": (link.parent, clip.parent)}
    ctx = stage_context(tmp_path, link, settings={**roots, "ffmpeg": planted(WORDS[0])})

    message = rejected(inspect, ctx)

    (told,) = reworded(ctx, WORDS[0], str(clip))
    assert link.as_uri() in told
    for text in (message, told):
        assert str(clip) not in text
