from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.adapters.tools import ffprobe
from include.base.errors import EncoderCrashed, MezzanineRejected, ToolTimeout
from include.base.settings import Settings
from include.domain.media.media import Analysis, Inspection
from include.domain.media.rejection import Reason
from include.domain.outcome.results import EncodeResult, SourceVerdict
from include.domain.plan.plan import Plan
from include.stages.analyse import analyse
from include.stages.core import StageContext
from include.stages.encode import ENCODED, encode, rendition_key
from include.stages.plan import plan
from include.stages.verify_source import verify_source
from tests.clips import HDR10, Clips, run_ffmpeg
from tests.media_core.conftest import inspected

Context = Callable[..., StageContext]
NO_SOUND: dict[str, Any] = {"languages": ()}
SMALL: dict[str, Any] = {"size": "192x108", "seconds": 5.0, **NO_SOUND}


def planned(ctx: StageContext, source: Inspection, *, codecs: tuple[str, ...] = ("h264",)) -> Plan:
    found = analyse.function(ctx, ctx.title, source)
    assert isinstance(found, Analysis)
    decision = plan.function(ctx, ctx.title, source, found, codecs=codecs)
    assert isinstance(decision, Plan)
    return decision


def encoded(ctx: StageContext, source: Inspection, decision: Plan, number: int = 0) -> EncodeResult:
    result = encode.function(ctx, ctx.title, source, decision, decision.jobs[number])
    assert isinstance(result, EncodeResult)
    return result


def verified(ctx: StageContext, source: Inspection) -> SourceVerdict:
    result = verify_source.function(ctx, ctx.title, source)
    assert isinstance(result, SourceVerdict)
    return result


def shown(ctx: StageContext, result: EncodeResult) -> tuple[dict[str, Any], list[float], list[int]]:
    """The stream, the presentation times and the positions of the keyframes of a rendition."""
    argv = [
        ffprobe(Settings()),
        "-v",
        "error",
        "-show_streams",
        "-show_entries",
        "packet=pts_time,flags",
        "-of",
        "json",
    ]
    finished = subprocess.run([*argv, ctx.store.readable(result.uri)], capture_output=True, check=True)
    data = json.loads(finished.stdout)
    packets = sorted((float(packet["pts_time"]), "K" in packet["flags"]) for packet in data["packets"])
    assert len(data["streams"]) == 1
    return data["streams"][0], [time for time, _ in packets], [n for n, (_, key) in enumerate(packets) if key]


def test_every_rung_has_exact_frames_and_keyframes_at_the_same_places(clips: Clips, context: Context) -> None:
    ctx = context(clips("film.mp4", seconds=5.0, rate="24000/1001", **NO_SOUND))
    source = inspected(ctx)
    decision = planned(ctx, source)

    results = [encoded(ctx, source, decision, number) for number in range(len(decision.jobs))]

    assert [result.rendition for result in results] == ["h264_144p", "h264_240p"]
    for result, job in zip(results, decision.jobs, strict=True):
        stream, times, keys = shown(ctx, result)
        assert keys == [0, 48, 96]
        assert 120 == len(times) == result.frames == job.rendition.frames
        assert all(abs(time - number * 1001 / 24000) < 1e-4 for number, time in enumerate(times))
        assert (stream["codec_name"], stream["codec_tag_string"], stream["profile"]) == ("h264", "avc1", "High")
        assert {"bt709"} == {stream[name] for name in ("color_space", "color_transfer", "color_primaries")}
        assert (stream["pix_fmt"], stream["color_range"], stream["sample_aspect_ratio"]) == ("yuv420p", "tv", "1:1")
        assert (job.rendition.width, job.rendition.height) == (stream["width"], stream["height"])
        assert result.size_bytes == ctx.store.size(result.uri)
        assert result.cost.cpu_s > 0
        assert result.duration_s == 5.005


def test_vp9_keeps_the_same_grid(clips: Clips, context: Context) -> None:
    ctx = context(clips("small.mp4", **SMALL))
    source = inspected(ctx)
    decision = planned(ctx, source, codecs=("h264", "vp9"))

    result = encoded(ctx, source, decision, 1)

    stream, times, keys = shown(ctx, result)
    assert ("vp9", result.uri.endswith(".webm")) == (stream["codec_name"], True)
    assert keys == [0, 50, 100]
    assert 125 == len(times) == result.frames


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("late-start.ts", {"extra": ("-output_ts_offset", "7")}),
        ("portrait.mp4", {"size": "108x192"}),
        ("odd.mkv", {"size": "191x107", "video": ("-c:v", "libx264", "-pix_fmt", "yuv444p")}),
        ("ten-bit.mkv", {"video": ("-c:v", "libx264", "-pix_fmt", "yuv420p10le")}),
        ("anamorphic.mp4", {"filters": "setsar=4/3"}),
        ("varying.mp4", {"filters": "select='not(between(mod(n,10),3,6))'", "extra": ("-fps_mode", "vfr")}),
        ("fast.mp4", {"rate": "120"}),
        ("one.mp4", {"extra": ("-frames:v", "1")}),
        (
            "combed.ts",
            {
                "video": ("-c:v", "mpeg2video", "-q:v", "4", "-flags", "+ilme+ildct"),
                "filters": "tinterlace=interleave_top,fieldorder=tff",
                "rate": "50",
            },
        ),
        (
            "hdr.mp4",
            {"video": HDR10},
        ),
        ("tiny.mp4", {"size": "16x16"}),
    ],
)
def test_an_odd_source_becomes_a_plain_rendition_with_as_many_frames_as_the_full_decode_counts(
    clips: Clips, context: Context, name: str, options: dict[str, Any]
) -> None:
    ctx = context(clips(f"encode-{name}", **{**SMALL, "seconds": 2.0, **options}))
    source = inspected(ctx)
    decision = planned(ctx, source)

    result = encoded(ctx, source, decision, len(decision.jobs) - 1)
    stream, times, _ = shown(ctx, result)

    assert verified(ctx, source).frames == result.frames == len(times)
    assert times[0] == 0.0
    assert (stream["pix_fmt"], stream.get("sample_aspect_ratio", "1:1"), stream.get("field_order", "progressive")) == (
        "yuv420p",
        "1:1",
        "progressive",
    )


def test_a_video_that_starts_late_is_held_so_that_it_stays_with_its_sound(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    run_ffmpeg(
        [
            "-f",
            "lavfi",
            "-i",
            "sine=duration=3",
            "-itsoffset",
            "1",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=192x108:rate=25:duration=2",
            "-map",
            "1:v",
            "-map",
            "0:a",
            "-c:v",
            "libx264",
            str(path),
        ]
    )
    ctx = context(path)
    source = inspected(ctx)

    assert source.video.start_time_s == 1.0
    assert 75 == encoded(ctx, source, planned(ctx, source)).frames == verified(ctx, source).frames


def test_a_finished_rendition_is_found_and_not_made_again(clips: Clips, context: Context) -> None:
    ctx = context(clips("small.mp4", **SMALL))
    source = inspected(ctx)
    decision = planned(ctx, source)
    first = encoded(ctx, source, decision)
    media = Path(ctx.store.readable(first.uri))
    written = media.stat().st_mtime_ns

    assert first == encoded(ctx, source, decision)
    assert written == media.stat().st_mtime_ns
    media.write_bytes(b"half")
    assert first.frames == encoded(ctx, source, decision).frames
    assert media.stat().st_size > 4


def test_the_key_changes_with_whatever_decides_the_bytes(clips: Clips, context: Context) -> None:
    ctx = context(clips("small.mp4", **SMALL))
    source = inspected(ctx)
    decision = planned(ctx, source)
    rendition = decision.renditions[0]
    other_source = source.model_copy(update={"mezzanine": source.mezzanine.model_copy(update={"marker": "2"})})
    deinterlaced = rendition.treatment.model_copy(update={"deinterlace": True})

    keys = {
        rendition_key(source, rendition, "9"),
        rendition_key(source, rendition, "10"),
        rendition_key(other_source, rendition, "9"),
        rendition_key(source, rendition.model_copy(update={"treatment": deinterlaced}), "9"),
        rendition_key(source, rendition.model_copy(update={"rate_control": rendition.rate_control.shifted(8)}), "9"),
    }

    assert len(keys) == 5
    assert rendition_key(source, rendition, "9") == rendition_key(
        source, rendition.model_copy(update={"core": False, "name": "x"}), "9"
    )


def test_progress_is_reported_up_to_the_end(clips: Clips, context: Context) -> None:
    ctx = context(clips("small.mp4", **SMALL))
    source = inspected(ctx)
    decision = planned(ctx, source)
    reports: list[tuple[float, str]] = []
    object.__setattr__(ctx, "report", lambda share, message: reports.append((share, message)))

    encoded(ctx, source, decision)

    shares = [share for share, _ in reports]
    assert shares == sorted(shares)
    encoding = [share for share, message in reports if message.startswith("h264_144p: frame 125 of 125")]
    assert encoding[-1] == ENCODED
    assert any(message.startswith("counting h264_144p: frame 1") for _, message in reports)
    assert reports[-1][0] == 1.0
    assert reports[-1][1].startswith("storing h264_144p")


def test_an_encode_past_its_limit_ends_with_the_text_that_users_know(clips: Clips, context: Context) -> None:
    ctx = context(
        clips("long-front.mp4", seconds=30.0, size="128x72", rate="10", extra=("-movflags", "+faststart"), **NO_SOUND)
    )
    source = inspected(ctx)
    decision = planned(ctx, source)
    hurried = decision.jobs[0].model_copy(update={"time_limit_s": 0.01})

    with pytest.raises(ToolTimeout, match=r"^FFmpeg timeout"):
        encode.function(ctx, ctx.title, source, decision, hurried)
    assert ctx.store.list(ctx.key("renditions")) == {}


def test_a_mezzanine_replaced_meanwhile_is_noticed(clips: Clips, context: Context, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clips("small.mp4", **SMALL).read_bytes())
    ctx = context(path)
    source = inspected(ctx)
    decision = planned(ctx, source)
    path.write_bytes(clips("served-plain.mp4").read_bytes())

    for task in (
        lambda: encoded(ctx, source, decision),
        lambda: verified(ctx, source),
        lambda: analyse.function(ctx, ctx.title, source),
    ):
        with pytest.raises(MezzanineRejected) as caught:
            task()
        assert caught.value.reason == Reason.CHANGED


def test_a_rendition_that_lacks_frames_is_a_crash_though_the_encoder_ended_well(clips: Clips, context: Context) -> None:
    ctx = context(clips("small.mp4", **SMALL))
    source = inspected(ctx)
    decision = planned(ctx, source)
    video = source.video.model_copy(update={"duration_s": 50.0})
    longer = source.model_copy(update={"video": video, "duration_s": 50.0})

    # The last picture is held for half a second at most: containers round.
    with pytest.raises(EncoderCrashed, match="137 frames came out instead of 1250") as caught:
        encoded(ctx, longer, decision)
    assert "libx264" in caught.value.command
    assert ctx.store.list(ctx.key("renditions")) == {}


def test_an_encoder_that_fails_leaves_nothing(clips: Clips, context: Context) -> None:
    ctx = context(clips("small.mp4", **SMALL))
    source = inspected(ctx)
    decision = planned(ctx, source)
    job = decision.jobs[0]
    broken = job.model_copy(update={"rendition": job.rendition.model_copy(update={"preset": "nonsense"})})

    with pytest.raises(EncoderCrashed) as caught:
        encode.function(ctx, ctx.title, source, decision, broken)
    assert "nonsense" in caught.value.stderr_tail
    assert ctx.store.list(ctx.key("renditions")) == {}
