"""Stills and previews as the real ffmpeg makes them."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from include.adapters.tools import ffprobe
from include.base.settings import Settings
from include.domain.media.media import Analysis
from include.domain.outcome.results import ImagesResult
from include.stages.core import StageContext
from include.stages.images import MAX_TILES, fitted, images, poster_time, sprite_vtt, tiles
from include.stages.inspect import inspect
from tests.clips import Clips, run_ffmpeg, stage_context


def made(folder: Path, clip: Path, analysis: Analysis | None = None) -> tuple[StageContext, ImagesResult]:
    ctx = stage_context(folder, clip)
    source = inspect.function(ctx, ctx.title)
    result: ImagesResult = images.function(ctx, ctx.title, source, analysis or Analysis(windows=()))  # type: ignore[assignment]
    return ctx, result


def looked_at(ctx: StageContext, key: str) -> dict[str, Any]:
    entries = "stream=codec_name,width,height,nb_read_frames:format=duration"
    argv = [ffprobe(Settings()), "-v", "error", "-count_frames", "-show_streams", "-show_entries", entries]
    finished = subprocess.run([*argv, "-of", "json", ctx.store.readable(key)], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(finished.stdout)
    assert len(found["streams"]) == 1
    return {**found["streams"][0], "duration": float(found["format"].get("duration", 0))}


@pytest.mark.parametrize(
    ("name", "options", "poster", "preview", "sheet"),
    [
        pytest.param("images.mp4", {"seconds": 7}, (320, 180), (320, 180), (896, 72), id="landscape"),
        pytest.param(
            "portrait.mp4", {"seconds": 2, "size": "360x640"}, (360, 640), (360, 640), (256, 72), id="portrait"
        ),
        pytest.param("one-frame-images.mp4", {"seconds": 0.04}, (320, 180), (320, 180), (128, 72), id="one frame"),
        pytest.param("wide.mp4", {"seconds": 1, "size": "640x98"}, (640, 98), (640, 98), (128, 72), id="very wide"),
    ],
)
def test_every_picture_has_its_size(
    clips: Clips,
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    poster: tuple[int, int],
    preview: tuple[int, int],
    sheet: tuple[int, int],
) -> None:
    ctx, result = made(tmp_path, clips(name, languages=(), **options))

    sizes = {
        kind: (found["codec_name"], found["width"], found["height"])
        for kind in ("poster", "thumbnail", "sprite", "preview_mp4", "preview_gif")
        for found in [looked_at(ctx, getattr(result, kind))]
    }
    gif = fitted(*poster, (320, 180))
    assert sizes == {
        "poster": ("mjpeg", *poster),
        "thumbnail": ("mjpeg", 320, 180),
        "sprite": ("mjpeg", *sheet),
        "preview_mp4": ("h264", *preview),
        "preview_gif": ("gif", *gif),
    }


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("long-gop.ts", ("libx264", "-preset", "ultrafast", "-g", "300", "-sc_threshold", "0", "-bf", "2")),
        ("open-gop.ts", ("libx264", "-preset", "ultrafast", "-g", "60", "-bf", "3", "-x264-params", "open-gop=1")),
        ("open-gop.mpg", ("mpeg2video", "-g", "60", "-bf", "2")),
        ("no-index.avi", ("mjpeg", "-q:v", "20")),
    ],
)
def test_a_seek_that_lands_elsewhere_costs_no_picture(name: str, video: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir()
    pixels = "yuvj420p" if "mjpeg" in video else "yuv420p"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-t", "13", "-pix_fmt", pixels)
    run_ffmpeg([*picture, "-c:v", *video, str(path)])
    if name.endswith(".avi"):
        data = path.read_bytes()
        path.write_bytes(data[: data.rindex(b"idx1")])

    ctx, result = made(tmp_path, path, Analysis(windows=(), brightest_s=11.0))

    assert result.poster_time_s == 11.0
    assert looked_at(ctx, result.preview_mp4)["duration"] == pytest.approx(5.0, abs=0.1)
    assert looked_at(ctx, result.sprite)["width"] == 1280


def test_the_previews_last_five_seconds(clips: Clips, tmp_path: Path) -> None:
    ctx, result = made(tmp_path, clips("images.mp4", languages=(), seconds=7), Analysis(windows=(), brightest_s=6.9))

    assert looked_at(ctx, result.preview_mp4)["duration"] == pytest.approx(5.0, abs=0.05)
    assert looked_at(ctx, result.preview_gif)["nb_read_frames"] == "50"


def test_the_poster_is_the_frame_that_the_analysis_names(clips: Clips, tmp_path: Path) -> None:
    black_then_white = "color=c=black,drawbox=c=white:t=fill:enable='gte(t,1.5)'"
    clip = clips(
        "half.mp4", seconds=3, languages=(), picture="color=c=black", filters=black_then_white.partition(",")[2]
    )

    sizes = []
    for folder, at_s in (("dark", 0.5), ("bright", 2.5)):
        (tmp_path / folder).mkdir()
        ctx, result = made(tmp_path / folder, clip, Analysis(windows=(), brightest_s=at_s))
        assert result.poster_time_s == at_s
        sizes.append(mean_luma(ctx, result.poster))

    assert sizes[0] < 40
    assert sizes[1] > 200


def mean_luma(ctx: StageContext, key: str) -> float:
    from include.adapters.tools import ffmpeg

    argv = [ffmpeg(Settings()), "-v", "error", "-i", ctx.store.readable(key), "-pix_fmt", "gray", "-f", "rawvideo", "-"]
    pixels = subprocess.run(argv, capture_output=True, check=True).stdout
    return sum(pixels) / len(pixels)


def test_a_poster_time_behind_the_last_frame_takes_the_first(clips: Clips, tmp_path: Path) -> None:
    ctx, result = made(tmp_path, clips("images.mp4", languages=(), seconds=7), Analysis(windows=(), brightest_s=99.0))

    assert ctx.store.size(result.poster)
    assert result.poster_time_s == 0.0


def test_every_tile_that_the_webvtt_names_is_on_the_sheet(clips: Clips, tmp_path: Path) -> None:
    ctx, result = made(tmp_path, clips("images.mp4", languages=(), seconds=7))

    sheet = looked_at(ctx, result.sprite)
    text = ctx.store.get_bytes(result.sprite_vtt).decode()
    boxes = [tuple(map(int, box)) for box in re.findall(r"#xywh=(\d+),(\d+),(\d+),(\d+)", text)]
    assert len(boxes) == 7
    assert all(x + width <= sheet["width"] and y + height <= sheet["height"] for x, y, width, height in boxes)


@pytest.mark.parametrize(
    ("duration_s", "fps", "interval", "count"),
    [
        (0.04, "25", Fraction(1, 25), 1),
        (0.5, "25", Fraction(1, 2), 1),
        (14.014, "24000/1001", Fraction(1), 15),
        (100.0, "25", Fraction(1), 100),
        (7200.0, "25", Fraction(72), 100),
    ],
)
def test_tiles_are_a_second_apart_and_at_most_a_hundred(
    duration_s: float, fps: str, interval: Fraction, count: int
) -> None:
    assert tiles(duration_s, Fraction(fps)) == (interval, count)
    assert count <= MAX_TILES


def test_the_sprite_s_cues_cover_the_title_without_gaps() -> None:
    text = sprite_vtt(12, Fraction(6, 5), 14.014)

    times = re.findall(r"(\S+) --> (\S+)\nsprite.jpg#xywh=(\d+),(\d+),128,72", text)
    assert times[0][0] == "00:00:00.000"
    assert times[-1][1] == "00:00:14.014"
    assert all(one[1] == next_[0] for one, next_ in itertools.pairwise(times))
    assert [(int(x), int(y)) for _, _, x, y in times[9:11]] == [(9 * 128, 0), (0, 72)]


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((1920, 1080), (640, 360), (640, 360)),
        ((1080, 1920), (640, 360), (360, 640)),
        ((320, 180), (640, 360), (320, 180)),
        ((1921, 801), (640, 360), (640, 266)),
        ((2000, 2), (640, 360), (640, 2)),
    ],
)
def test_pictures_fit_their_box_and_are_never_enlarged(
    size: tuple[int, int], box: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fitted(*size, box) == expected


def test_without_a_known_good_frame_the_poster_lies_a_third_in() -> None:
    assert poster_time(Analysis(windows=()), 9.0) == 3.0
    assert poster_time(Analysis(windows=(), brightest_s=20.0), 9.0) == 9.0
