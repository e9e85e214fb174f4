from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.adapters.ffmpeg.decode import Decoded, decode
from include.base.errors import EncoderCrashed, MezzanineRejected, ToolTimeout
from include.domain.media.rejection import Reason
from include.domain.outcome.results import SourceVerdict
from include.stages.core import StageContext
from include.stages.verify_source import verify_source
from tests.clips import Clips
from tests.media_core.conftest import inspected

stage = sys.modules[verify_source.function.__module__]
"""The module: in the package its name is the stage's."""
Context = Callable[..., StageContext]


def damaged(path: Path, source: Path, *, start: float, step: int) -> Path:
    data = bytearray(source.read_bytes())
    for index in range(int(len(data) * start), len(data) * 9 // 10, step):
        data[index] ^= 0xFF
    path.write_bytes(data)
    return path


def verdict(ctx: StageContext) -> SourceVerdict:
    result = verify_source.function(ctx, ctx.title, inspected(ctx))
    assert isinstance(result, SourceVerdict)
    return result


def test_a_sound_mezzanine_is_hashed_and_counted(clips: Clips, context: Context) -> None:
    clip = clips("served-plain.mp4")
    checksum = f"sha256:{hashlib.sha256(clip.read_bytes()).hexdigest()}"

    result = verdict(context(clip, checksum=checksum))

    assert (checksum, 50, 2.0, 0, ()) == (
        result.checksum,
        result.frames,
        result.duration_s,
        result.decode_errors,
        result.warnings,
    )
    assert result.cost.cpu_s > 0


def test_checksum_and_decode_tell_how_far_they_are(clips: Clips, context: Context) -> None:
    told: list[tuple[float, str]] = []
    ctx = context(clips("served-plain.mp4"))

    listening = dataclasses.replace(ctx, report=lambda share, message: told.append((share, message)))
    verify_source.function(listening, ctx.title, inspected(ctx))

    shares = [share for share, _ in told]
    told_of = [message.split(" ")[0] for share, message in told if share > 0]
    assert (told_of[0], told_of.count("decoded")) == ("checksum", 50), "each frame moves it"
    assert shares == sorted(shares)
    assert 0.9 < shares[-1] < 1


def test_an_inspection_that_has_to_decode_everything_tells_how_far_it_is(clips: Clips, context: Context) -> None:
    told: list[tuple[float, str]] = []
    ctx = context(clips("served-plain.mp4"))

    inspected(dataclasses.replace(ctx, report=lambda share, message: told.append((share, message))))

    shares = [share for share, message in told if message.startswith("decoded")]
    assert len(shares) == 50, "each frame moves it"
    assert shares == sorted(shares)
    listing = [share for share, message in told if message.startswith("reading the times of pictures: ")]
    assert len(listing) == 50, "each packet moves it"
    assert 0.2 <= min(listing) < max(listing) <= shares[0]


@pytest.mark.parametrize("tool", ["ffmpeg", "ffprobe"])
def test_a_tool_that_was_killed_says_nothing_about_the_mezzanine(
    tool: str, clips: Clips, context: Context, tmp_path: Path
) -> None:
    """It looked undecodable: what is the platform's fault was told to the CMS as the source's."""
    killed = tmp_path / tool
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    sound = context(clips("served-plain.mp4"))
    source = inspected(sound)
    broken = dataclasses.replace(sound, settings=sound.settings.model_copy(update={tool: str(killed)}))

    with pytest.raises(EncoderCrashed, match=f"{tool} was killed .SIGKILL"):
        inspected(broken)
    if tool == "ffmpeg":
        with pytest.raises(EncoderCrashed, match=r"ffmpeg was killed .SIGKILL"):
            verify_source.function(broken, broken.title, source)


def test_another_checksum_is_refused_with_both(clips: Clips, context: Context) -> None:
    clip = clips("served-plain.mp4")
    wanted = f"sha256:{'0' * 64}"

    with pytest.raises(MezzanineRejected) as caught:
        verdict(context(clip, checksum=wanted))

    assert caught.value.reason == Reason.CHECKSUM_MISMATCH
    assert wanted in caught.value.message
    assert hashlib.sha256(clip.read_bytes()).hexdigest() in caught.value.message


def test_damage_that_the_samples_missed_is_found_and_tolerated_only_where_configured(
    clips: Clips, context: Context, tmp_path: Path
) -> None:
    options = {"seconds": 30.0, "size": "128x72", "rate": "10", "extra": ("-movflags", "+faststart"), "languages": ()}
    whole = clips("long-front.mp4", **options)
    path = damaged(tmp_path / "damaged.mp4", whole, start=0.3, step=9000)
    ctx = context(path, settings={"decode_error_tolerance": 0.9})
    tolerated = verdict(ctx)

    assert tolerated.decode_errors > 0
    assert {"decode_errors"} == {finding.code for finding in tolerated.warnings}
    with pytest.raises(MezzanineRejected) as caught:
        verify_source.function(context(path), ctx.title, inspected(ctx))
    assert caught.value.reason == Reason.UNDECODABLE


def test_a_mezzanine_that_is_replaced_while_it_is_decoded_has_changed(
    clips: Clips, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "replaced.mp4"
    path.write_bytes(clips("served-plain.mp4").read_bytes())

    def decode_and_replace(*arguments: Any, **options: Any) -> Decoded:
        decoded = decode(*arguments, **options)
        os.utime(path, ns=(1, 1))
        return decoded

    monkeypatch.setattr(stage, "decode", decode_and_replace)

    with pytest.raises(MezzanineRejected) as caught:
        verdict(context(path))
    assert caught.value.reason == Reason.CHANGED


def test_a_mezzanine_far_shorter_than_its_container_says_is_truncated(clips: Clips, context: Context) -> None:
    ctx = context(clips("served-plain.mp4"))
    source = inspected(ctx)
    claimed = source.model_copy(update={"video": source.video.model_copy(update={"duration_s": 20.0})})

    with pytest.raises(MezzanineRejected) as caught:
        verify_source.function(ctx, ctx.title, claimed)
    assert caught.value.reason == Reason.TRUNCATED


def test_damaged_sound_is_reported_and_does_not_stop_the_title(clips: Clips, context: Context, tmp_path: Path) -> None:
    options = {
        "audio": ("-c:a", "aac", "-b:a", "256k"),
        "tone": "anoisesrc=sample_rate=48000:seed=7",
        "picture": "color",
        "seconds": 4.0,
        "extra": ("-movflags", "+faststart"),
    }
    path = damaged(tmp_path / "noise.mp4", clips("noise.mp4", **options), start=0.3, step=400)
    ctx = context(path, settings={"decode_error_tolerance": 1.0})

    assert "audio_decode_errors" in {finding.code for finding in verdict(ctx).warnings}


def test_hashing_ends_when_the_time_of_the_task_is_gone(clips: Clips, context: Context) -> None:
    ctx = context(clips("served-plain.mp4"))
    source = inspected(ctx)
    object.__setattr__(ctx, "deadline", 0.0)

    with pytest.raises(ToolTimeout, match=r"^FFmpeg timeout"):
        verify_source.function(ctx, ctx.title, source)
