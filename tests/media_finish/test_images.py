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

from include.adapters.tools import ffmpeg, ffprobe
from include.base.settings import Settings
from include.domain.media.captions import timestamp
from include.domain.media.media import Analysis
from include.domain.media.sprites import sprites_of
from include.domain.outcome.results import ImagesResult
from include.stages.core import StageContext
from include.stages.images import fitted, images, poster_time
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
        for kind in ("poster", "thumbnail", "preview_mp4", "preview_gif")
        for found in [looked_at(ctx, getattr(result, kind))]
    }
    (only,) = result.sprites
    shown = looked_at(ctx, only)
    gif = fitted(*poster, (320, 180))
    assert sizes == {
        "poster": ("mjpeg", *poster),
        "thumbnail": ("mjpeg", 320, 180),
        "preview_mp4": ("h264", *preview),
        "preview_gif": ("gif", *gif),
    }
    assert (shown["codec_name"], shown["width"], shown["height"]) == ("mjpeg", *sheet)


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
    assert looked_at(ctx, result.sprites[0])["width"] == 1280


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
    argv = [ffmpeg(Settings()), "-v", "error", "-i", ctx.store.readable(key), "-pix_fmt", "gray", "-f", "rawvideo", "-"]
    pixels = subprocess.run(argv, capture_output=True, check=True).stdout
    return sum(pixels) / len(pixels)


def test_a_poster_time_behind_the_last_frame_takes_the_first(clips: Clips, tmp_path: Path) -> None:
    ctx, result = made(tmp_path, clips("images.mp4", languages=(), seconds=7), Analysis(windows=(), brightest_s=99.0))

    assert ctx.store.size(result.poster)
    assert result.poster_time_s == 0.0


def test_every_tile_that_the_webvtt_names_is_on_the_sheet(clips: Clips, tmp_path: Path) -> None:
    ctx, result = made(tmp_path, clips("images.mp4", languages=(), seconds=7))

    sheet = looked_at(ctx, result.sprites[0])
    text = ctx.store.get_bytes(result.sprite_vtt).decode()
    boxes = [tuple(map(int, box)) for box in re.findall(r"#xywh=(\d+),(\d+),(\d+),(\d+)", text)]
    assert len(boxes) == 7
    assert all(x + width <= sheet["width"] and y + height <= sheet["height"] for x, y, width, height in boxes)


@pytest.mark.parametrize(
    ("duration_s", "fps", "interval", "count", "sheets"),
    [
        (0.04, "25", Fraction(1, 25), 1, 1),
        (0.5, "25", Fraction(1, 2), 1, 1),
        (14.014, "24000/1001", Fraction(1), 15, 1),
        (100.0, "25", Fraction(1), 100, 1),
        (600.0, "25", Fraction(6), 100, 1),
        (1000.0, "25", Fraction(10), 100, 1),
        (1000.04, "25", Fraction(10), 101, 2),
        (7200.0, "25", Fraction(10), 720, 8),
        (12 * 3600.0, "5", Fraction(10), 4320, 44),
    ],
)
def test_tiles_are_a_second_to_ten_seconds_apart(
    duration_s: float, fps: str, interval: Fraction, count: int, sheets: int
) -> None:
    sprites = sprites_of(duration_s, Fraction(fps))

    assert (sprites.interval_s, sprites.count, len(sprites.sheets)) == (interval, count, sheets)


@pytest.mark.parametrize("keyframe_each", [1, 250], ids=["keyframes", "one keyframe"])
def test_each_tile_of_a_long_source_shows_its_own_stretch(keyframe_each: int, tmp_path: Path) -> None:
    clip = brightening(tmp_path / "in" / "long.mkv", seconds=1250, keyframe_each=keyframe_each)

    ctx, result = made(tmp_path, clip, Analysis(windows=(), brightest_s=1000.0))

    shown = [luma for key in result.sprites for luma in tiles_of(ctx, key)]
    assert len(result.sprites) == 2
    assert [round(luma / 255 * 125) for luma in shown[:125]] == pytest.approx(range(125), abs=2)
    assert max(shown[125:]) < 10, "the last sheet is black where it has no tile"
    assert mean_luma(ctx, result.poster) / 255 == pytest.approx(0.8, abs=0.02)


def test_a_long_source_that_cannot_be_sought_tells_how_far_its_pictures_are(tmp_path: Path) -> None:
    clip = brightening(tmp_path / "in" / "long.mkv", seconds=1250, keyframe_each=250)
    ctx = stage_context(tmp_path, clip)
    source = inspect.function(ctx, ctx.title).model_copy(update={"seeks": False})
    told: list[tuple[float, str]] = []
    object.__setattr__(ctx, "report", lambda share, message: told.append((share, message)))

    images.function(ctx, ctx.title, source, Analysis(windows=(), brightest_s=1000.0))

    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert max(after - before for before, after in itertools.pairwise(shares)) < 0.06
    for what in ("the poster", "sprite sheets", "the preview"):
        assert len({message for _, message in told if message.startswith(f"{what}: ")}) >= 50, what
    assert "the preview: 1000 of 1000 s read" in {message for _, message in told}


def brightening(path: Path, *, seconds: int, keyframe_each: int) -> Path:
    """A flat picture every ten seconds, from black at the start to white at the end."""
    path.parent.mkdir()
    frames = seconds // 10
    picture = f"color=c=white:size=160x90:rate=1/10,fade=t=in:s=0:n={frames}"
    video = ("-c:v", "libx264", "-preset", "ultrafast", "-g", str(keyframe_each), "-pix_fmt", "yuv420p")
    run_ffmpeg(["-f", "lavfi", "-i", picture, "-frames:v", str(frames), *video, str(path)])
    return path


def tiles_of(ctx: StageContext, key: str) -> list[float]:
    """The mean luma of each tile of a full sheet, 0-255."""
    small = ("-vf", "scale=10:10:flags=area", "-pix_fmt", "gray", "-f", "rawvideo", "-")
    argv = [ffmpeg(Settings()), "-v", "error", "-i", ctx.store.readable(key), *small]
    return [float(luma) for luma in subprocess.run(argv, capture_output=True, check=True).stdout]


@pytest.mark.parametrize(("duration_s", "fps"), [(14.014, "24000/1001"), (1234.5, "25"), (12 * 3600.0, "5")])
def test_the_sprites_cues_cover_the_title_without_gaps_and_no_tile_twice(duration_s: float, fps: str) -> None:
    sprites = sprites_of(duration_s, Fraction(fps))
    found = re.findall(r"(\S+) --> (\S+)\n(\S+)#xywh=(\d+),(\d+),128,72\n", sprites.webvtt(duration_s))

    assert len(found) == sprites.count
    assert found[0][0] == "00:00:00.000"
    assert found[-1][1] == timestamp(round(duration_s * 1000))
    assert all(one[1] == next_[0] for one, next_ in itertools.pairwise(found))
    assert list(dict.fromkeys(sheet for _, _, sheet, _, _ in found)) == list(sprites.sheets)
    places = {(sheet, int(x), int(y)) for _, _, sheet, x, y in found}
    assert len(places) == sprites.count
    assert all(x % 128 == 0 and x < 128 * sprites.columns for _, x, _ in places)
    assert all(y % 72 == 0 and y < 72 * sprites.rows for _, _, y in places)


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
