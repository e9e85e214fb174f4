"""What a viewer sees: cropped, turned, with square pixels, over black."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np  # noqa: TID253
import pytest

from include.adapters.ffmpeg.look import dolby_profile, is_mirrored, read_look
from include.base.errors import MezzanineRejected
from include.domain.media.picture import (
    Seen,
    as_seen,
    picture_findings,
    pixel_shape,
    quarter_turn,
    refused_picture,
    with_base_layer,
)
from include.domain.media.rejection import Reason
from include.stages.core import StageContext
from tests.clips import run_ffmpeg
from tests.media_core.boxes import with_clean_aperture, with_dolby_vision
from tests.media_core.charts import rendered, shown
from tests.media_core.conftest import inspected
from tests.media_core.samples import video
from tests.titles import make_title

Context = Callable[..., StageContext]
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", "yuv420p")
QUARTERS = ("red", "lime", "blue", "yellow")
RGB = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "black": (0, 0, 0)}


def quarters(path: Path, *, size: tuple[int, int] = (320, 180), bars: int = 0, video: tuple[str, ...] = H264) -> Path:
    """A clip with red, lime, blue and yellow in its quarters, in reading order, and white bars above and below."""
    width, height = size
    half = f"w={width // 2}:h={(height - 2 * bars) // 2}:t=fill"
    boxes = ",".join(
        f"drawbox=x={number % 2 * width // 2}:y={bars + number // 2 * (height - 2 * bars) // 2}:{half}:color={colour}"
        for number, colour in enumerate(QUARTERS)
    )
    picture = f"color=white:size={width}x{height}:rate=25:duration=0.4,format=gbrp,{boxes}"
    tags = "scale=out_color_matrix=bt709:out_range=limited,setparams=color_primaries=bt709:color_trc=bt709"
    run_ffmpeg(["-f", "lavfi", "-i", f"{picture},{tags}", *video, str(path)])
    return path


def corners(picture: Any) -> tuple[str, ...]:
    """The colour in the middle of each quarter, in reading order."""
    height, width = picture.shape[:2]
    found = []
    for row, column in ((1, 1), (1, 3), (3, 1), (3, 3)):
        seen = picture[row * height // 4, column * width // 4]
        found.append(min(RGB, key=lambda name: float(np.abs(np.array(RGB[name]) - seen).max())))
    return tuple(found)


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_what_a_container_crops_is_not_shown_and_nothing_is_stretched(
    context: Context, tmp_path: Path, suffix: str
) -> None:
    clip = with_clean_aperture(quarters(tmp_path / "whole.mov", bars=22), width=320, height=136)
    if suffix == "mkv":
        run_ffmpeg(["-i", str(clip), "-c", "copy", str(tmp_path / "cropped.mkv")])
        clip = tmp_path / "cropped.mkv"
    ctx = context(clip)

    source, result, decision = rendered(ctx)

    assert (source.video.display_width, source.video.display_height) == (320, 136)
    assert "cropped" in {finding.code for finding in source.warnings}
    shape = Fraction(decision.jobs[0].rendition.width, decision.jobs[0].rendition.height)
    assert abs(shape / Fraction(320, 136) - 1) < 0.02
    picture = shown(ctx.store.readable(result.uri))
    assert corners(picture) == QUARTERS
    # Nothing is left of the white bars: the top row is red, without green and blue.
    assert picture[0, 10 : picture.shape[1] // 2 - 10, 1:].max() < 60


def test_cropping_pixel_shape_and_turn_work_together(context: Context, tmp_path: Path) -> None:
    clip = with_clean_aperture(quarters(tmp_path / "whole.mov", bars=22), width=320, height=136)
    turned = tmp_path / "turned.mkv"
    run_ffmpeg(["-display_rotation", "-90", "-i", str(clip), "-c", "copy", "-aspect", "640:136", str(turned)])
    ctx = context(turned)

    source, result, _ = rendered(ctx)

    seen = source.video
    assert (seen.width, seen.height, seen.rotation) == (320, 136, 90)
    assert (seen.display_width, seen.display_height) == (136, round(320 * pixel_shape(seen)))
    assert corners(shown(ctx.store.readable(result.uri))) == ("blue", "red", "yellow", "lime")


def test_lines_that_a_tape_format_keeps_above_the_picture_are_cut_off(context: Context, tmp_path: Path) -> None:
    whole, path = quarters(tmp_path / "plain.mp4", size=(720, 576)), tmp_path / "imx.mxf"
    above = ["-vf", "pad=720:608:0:32:white,setsar=1", "-c:v", "mpeg2video", "-q:v", "2", "-g", "1", "-aspect", "4:3"]
    run_ffmpeg(["-i", str(whole), *above, "-pix_fmt", "yuv422p", str(path)])
    ctx = context(path)

    source, result, _ = rendered(ctx)

    assert (source.video.display_width, source.video.display_height) == (768, 576)
    assert "blank_lines" in {finding.code for finding in source.warnings}
    picture = shown(ctx.store.readable(result.uri))
    assert corners(picture) == QUARTERS
    assert picture[1, 10 : picture.shape[1] // 2 - 10, 1:].max() < 60


@pytest.mark.parametrize(
    ("options", "expected", "code"),
    [
        (("-display_rotation", "-90"), ("blue", "red", "yellow", "lime"), "rotated"),
        (("-display_rotation", "180"), ("yellow", "blue", "lime", "red"), "rotated"),
        (("-display_rotation", "90"), ("lime", "yellow", "red", "blue"), "rotated"),
        (("-display_hflip",), ("lime", "red", "yellow", "blue"), "mirrored"),
        (("-display_vflip",), ("blue", "yellow", "red", "lime"), "mirrored"),
        (("-display_rotation", "-90", "-display_hflip"), ("red", "blue", "lime", "yellow"), "mirrored"),
    ],
)
def test_a_display_matrix_turns_and_mirrors_the_picture(
    context: Context, tmp_path: Path, options: tuple[str, ...], expected: tuple[str, ...], code: str
) -> None:
    turned = tmp_path / "turned.mp4"
    run_ffmpeg([*options, "-i", str(quarters(tmp_path / "plain.mp4")), "-c", "copy", str(turned)])
    ctx = context(turned)

    source, result, decision = rendered(ctx)

    assert corners(shown(ctx.store.readable(result.uri))) == expected
    assert code in {finding.code for finding in source.warnings}
    rendition = decision.jobs[0].rendition
    assert (rendition.width < rendition.height) == (source.video.rotation % 180 == 90)


def test_a_picture_that_stands_at_an_angle_is_refused(context: Context, tmp_path: Path) -> None:
    askew = tmp_path / "askew.mp4"
    run_ffmpeg(["-display_rotation", "-45", "-i", str(quarters(tmp_path / "plain.mp4")), "-c", "copy", str(askew)])

    with pytest.raises(MezzanineRejected, match=r"turned by 45\.0°") as caught:
        inspected(context(askew))

    assert caught.value.reason == Reason.UNSUPPORTED_PICTURE


@pytest.mark.parametrize(
    ("name", "pixels", "encoder"),
    [
        ("prores.mov", "yuva444p10le", ("-c:v", "prores_ks", "-profile:v", "4444", "-alpha_bits", "16")),
        ("vp9.webm", "yuva420p", ("-c:v", "libvpx-vp9", "-crf", "10", "-b:v", "0")),
        ("vp8.webm", "yuva420p", ("-c:v", "libvpx", "-auto-alt-ref", "0", "-b:v", "2M")),
        ("qtrle.mov", "argb", ("-c:v", "qtrle")),
        ("png.mov", "rgba", ("-c:v", "png")),
        ("hevc.mp4", "yuva420p", ("-c:v", "libx265", "-crf", "4", "-tag:v", "hvc1", "-x265-params", "log-level=1")),
    ],
)
def test_what_is_transparent_is_laid_over_black_and_what_it_hides_does_not_show(
    context: Context, tmp_path: Path, name: str, pixels: str, encoder: tuple[str, ...]
) -> None:
    # Green; hidden magenta; half transparent white; green.
    boxes = "drawbox=x=0:w=80:h=180:color=lime@1:t=fill:replace=1,drawbox=x=160:w=80:h=180:color=white@0.5:t=fill"
    picture = f"color=magenta@0:size=320x180:rate=25:duration=0.4,format=rgba,{boxes}:replace=1"
    picture += ",drawbox=x=240:w=80:h=180:color=lime@1:t=fill:replace=1,format=gbrap"
    path = tmp_path / name
    matrix = "scale=out_color_matrix=bt709:out_range=limited" if pixels.startswith("yuv") else "null"
    graph = f"{picture},{matrix},format={pixels}"
    run_ffmpeg(["-f", "lavfi", "-i", graph, "-pix_fmt", pixels, *encoder, str(path)])
    ctx = context(path)

    source, result, _ = rendered(ctx)

    assert source.video.alpha == "straight"
    assert "transparent" in {finding.code for finding in source.warnings}
    height, width = (picture := shown(ctx.store.readable(result.uri))).shape[:2]
    green, hidden, half, last = (picture[height // 2, width * part // 8] for part in (1, 3, 5, 7))
    for seen, right in ((green, (0, 255, 0)), (hidden, (0, 0, 0)), (half, (128, 128, 128)), (last, (0, 255, 0))):
        assert np.abs(seen - np.array(right)).max() <= 10


def test_stills_and_the_reference_of_the_comparison_see_the_same_picture(tmp_path: Path) -> None:
    clip = with_clean_aperture(quarters(tmp_path / "whole.mov", bars=22), width=320, height=136)

    (folder := tmp_path / "title").mkdir()
    title = make_title(folder, clip)
    verdicts = title.check().renditions

    assert all(verdict.vmaf is not None and verdict.vmaf.harmonic_mean > 85 for verdict in verdicts)
    with av.open(title.ctx.store.readable(title.stills.poster)) as poster:
        assert (poster.streams.video[0].width, poster.streams.video[0].height) == (320, 136)


@pytest.mark.parametrize(
    ("degrees", "turn"), [(0, 0), (-90, 270), (89.2, 90), (180, 180), (-180, 180), (359.5, 0), (45, None), (3, None)]
)
def test_an_angle_is_a_quarter_turn_or_none(degrees: float, turn: int | None) -> None:
    assert quarter_turn(degrees) == turn


@pytest.mark.parametrize(
    ("profile", "compatibility", "refused"),
    [(5, 0, True), (5, None, True), (8, 1, False), (8, 4, False), (7, 6, False), (4, 2, False), (9, 2, False),
     (10, 0, True), (10, 1, False), (20, 0, True)],
)  # fmt: skip
def test_dolby_vision_is_refused_where_its_base_layer_is_dolbys_alone(
    profile: int, compatibility: int | None, refused: bool
) -> None:
    dolby = (profile, compatibility)

    assert (refused_picture(video(), None, dolby) is not None) == refused
    said = picture_findings(video(), cropped_from=None, mirrored=False, dolby=dolby)
    assert f"Dolby Vision profile {profile}: its base layer" in said[0].message


@pytest.mark.parametrize(
    ("profile", "compatibility", "transfer"), [(8, 1, "smpte2084"), (8, 4, "arib-std-b67"), (5, 0, None)]
)
def test_dolby_vision_is_published_as_its_base_layer_or_refused(
    context: Context, tmp_path: Path, profile: int, compatibility: int, transfer: str | None
) -> None:
    encoder = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=1", "-tag:v", "hvc1")
    # Untagged: the record says what the base layer is.
    picture = "color=gray:size=320x180:rate=25:duration=0.4,format=yuv420p10le"
    run_ffmpeg(["-f", "lavfi", "-i", picture, *encoder, str(tmp_path / "dolby.mp4")])
    ctx = context(with_dolby_vision(tmp_path / "dolby.mp4", profile=profile, compatibility=compatibility))

    if transfer is None:
        with pytest.raises(MezzanineRejected, match="Dolby Vision profile 5") as caught:
            inspected(ctx)
        assert caught.value.reason == Reason.UNSUPPORTED_PICTURE
        return
    source, result, _ = rendered(ctx)
    assert source.video.color_transfer == transfer
    assert {"dolby_vision", "hdr"} <= {finding.code for finding in source.warnings}
    assert shown(ctx.store.readable(result.uri)).shape[2] == 3


def test_a_matrix_that_nothing_converts_is_refused() -> None:
    assert "ipt-c2" in (refused_picture(video(color_space="ipt-c2"), None, None) or "")
    assert refused_picture(video(color_space="bt2020c"), None, None) is None


@pytest.mark.parametrize(
    ("compatibility", "colours"),
    [
        (1, ("bt2020", "smpte2084", "bt2020nc")),
        (2, ("bt709", "bt709", "bt709")),
        (4, ("bt2020", "arib-std-b67", "bt2020nc")),
        (6, ("bt2020", "smpte2084", "bt2020nc")),
        (0, (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_a_base_layer_has_the_colours_of_its_compatibility(
    compatibility: int | None, colours: tuple[str | None, ...]
) -> None:
    untagged = video(color_primaries=None, color_transfer=None, color_space=None)

    found = with_base_layer(untagged, (8, compatibility))

    assert (found.color_primaries, found.color_transfer, found.color_space) == colours
    assert with_base_layer(untagged, None) == untagged


@pytest.mark.parametrize(
    ("codec", "told", "matrix"),
    [("h264", "bt709", "bt470bg"), ("dnxhd", "bt709", "bt709"), ("dnxhd", None, "bt470bg"), ("h264", None, "bt470bg")],
)
def test_the_picture_says_its_matrix_unless_its_encoder_does_not_know(
    codec: str, told: str | None, matrix: str
) -> None:
    seen = Seen(
        width=1920, height=1080, pixel_format="yuv422p", color_range=None, color_space="bt470bg", color_primaries=None,
        color_transfer=None, turn_degrees=None,
    )  # fmt: skip

    assert as_seen(video(codec=codec, color_space=told), seen, decoder=None).color_space == matrix


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("4:3", Fraction(4, 3)),
        ("1:8", Fraction(1, 8)),
        ("8:1", Fraction(8)),
        ("1:9", Fraction(1)),
        ("9:1", Fraction(1)),
        ("1:100", Fraction(1)),
        ("255:1", Fraction(1)),
    ],
)
def test_a_pixel_shape_that_cannot_be_true_counts_as_square(tag: str, expected: Fraction) -> None:
    assert pixel_shape(video(sample_aspect_ratio=tag)) == expected


def test_what_showinfo_prints_is_read_and_other_text_is_not() -> None:
    head = "[Parsed_showinfo_2 @ 0x1] "
    text = "\n".join(
        [
            "  title : fmt:evil s:1x1 i:P",
            head + "n:   0 pts:      0 duration_time:0.04    fmt:yuva420p cl:left sar:1/1 s:320x136 i:P iskey:1 type:I",
            head + "  side data - 3x3 displaymatrix: rotation of -90.00 degrees",
            head + "color_range:tv color_space:unknown color_primaries:bt2020 color_trc:arib-std-b67",
            head + "alpha_mode:premultiplied",
        ]
    )

    seen = read_look(text)

    assert seen is not None
    assert (seen.width, seen.height, seen.pixel_format, seen.turn_degrees) == (320, 136, "yuva420p", 90.0)
    assert (seen.color_range, seen.color_space, seen.color_transfer) == ("tv", None, "arib-std-b67")
    assert seen.alpha == "premultiplied"
    assert read_look("no such line") is None


@pytest.mark.parametrize(("profile", "full_range", "expected"), [(0, 1, 5), (0, 0, None), (1, 0, None)])
def test_dolby_vision_profile_5_is_seen_where_the_container_does_not_name_it(
    profile: int, full_range: int, expected: int | None
) -> None:
    head = "[Parsed_showinfo_2 @ 0x1] "
    text = (
        f"{head}n:   0 pts:      0    fmt:yuv420p10le cl:left sar:1/1 s:320x136 i:P iskey:1 type:I\n"
        f"{head}    rpu_type=2; rpu_format=18; vdr_rpu_profile={profile}; vdr_rpu_level=6; coef_data_type=0; "
        f"coef_log2_denom=23; vdr_rpu_normalized_idc=1; bl_video_full_range_flag={full_range}; bl_bit_depth=10;\n"
    )

    seen = read_look(text)

    assert seen is not None
    assert seen.dolby_profile == expected
    assert (refused_picture(video(), seen, None) is not None) == (expected == 5)


def test_damaged_side_data_says_nothing() -> None:
    assert not is_mirrored({"side_data_list": [{"displaymatrix": "\n0: 1 2\n1: x y z\n"}]})
    assert is_mirrored({"side_data_list": [{"displaymatrix": "\n0: -65536 0 0\n1: 0 65536 0\n2: 0 0 1073741824\n"}]})
    assert (
        dolby_profile({"side_data_list": [{"side_data_type": "DOVI configuration record", "dv_profile": "x"}]}) is None
    )
