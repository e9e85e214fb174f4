"""Colours are converted to what the renditions are tagged as, BT.709: measured on patches against the formulas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np  # noqa: TID253
import pytest

from include.domain.media.colour import Colours, colour_findings, read_as
from include.domain.recipe.treatment import SourceTreatment, sdr_treatment
from include.stages.core import StageContext
from tests.clips import run_ffmpeg
from tests.media_core.charts import (
    COLOURS,
    displayed,
    full_rgb,
    in_bt709,
    make_chart,
    patches,
    pq,
    rendered,
    shown,
    signal_of,
)
from tests.media_core.samples import analysis, video
from tests.titles import lowest, make_title

Context = Callable[..., StageContext]
CLOSE = 8
"""Of 255."""
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-crf", "4")


def converted(context: Context, clip: Path) -> tuple[Any, set[str]]:
    """The patches of a title's lowest rung, and what was found at its source."""
    ctx = context(clip)
    source, result, _ = rendered(ctx)
    return patches(shown(ctx.store.readable(result.uri))), {finding.code for finding in source.warnings}


@pytest.mark.parametrize(
    ("primaries", "transfer", "matrix", "full_range", "said"),
    [
        ("smpte432", "bt709", "bt709", False, "converted_colours"),
        ("bt2020", "bt2020-10", "bt2020nc", False, "converted_colours"),
        ("smpte170m", "smpte170m", "smpte170m", False, "converted_colours"),
        ("bt470bg", "smpte170m", "bt470bg", True, "converted_colours"),
        ("bt709", "bt709", "smpte170m", True, None),
        ("bt709", "bt709", "ycgco", False, "converted_colours"),
    ],
)
def test_sdr_of_any_colours_becomes_what_it_is_in_bt709(
    context: Context, tmp_path: Path, primaries: str, transfer: str, matrix: str, full_range: bool, said: str | None
) -> None:
    clip = make_chart(
        tmp_path / "chart.mp4", COLOURS, primaries=primaries, transfer=transfer, matrix=matrix, full_range=full_range
    )

    found, findings = converted(context, clip)

    right = signal_of(in_bt709(displayed(COLOURS), primaries)) * 255
    assert np.abs(found - right).max() <= CLOSE
    assert (said in findings) if said else "converted_colours" not in findings


@pytest.mark.parametrize(
    ("name", "pixels", "transfer", "encoder"),
    [
        ("odd.webm", "yuv420p", "bt709", ("-c:v", "libvpx-vp9")),
        ("odd.mov", "yuv422p10le", "smpte2084", ("-c:v", "prores_ks")),
        ("odd.mp4", "yuv444p", "bt709", ("-c:v", "libx264")),
    ],
)
def test_a_picture_of_odd_size_is_converted_too(
    context: Context, tmp_path: Path, name: str, pixels: str, transfer: str, encoder: tuple[str, ...]
) -> None:
    path = tmp_path / name
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=limited"
    picture = f"color=gray:size=191x107:rate=25:duration=0.4,format={pixels},{tags}"
    run_ffmpeg(["-f", "lavfi", "-i", picture, *encoder, str(path)])
    ctx = context(path)

    source, result, _ = rendered(ctx)

    assert (source.video.width, source.video.height) == (191, 107)
    assert shown(ctx.store.readable(result.uri)).shape[:2] == (106, 190)


def test_rgb_with_the_primaries_of_p3_is_converted(context: Context, tmp_path: Path) -> None:
    clip = make_chart(
        tmp_path / "chart.mkv",
        COLOURS,
        primaries="smpte432",
        transfer="bt709",
        matrix="bt709",
        pixels="gbrp",
        video=("-c:v", "libx264rgb", "-qp", "4"),
    )

    found, _ = converted(context, clip)

    assert np.abs(found - signal_of(in_bt709(displayed(COLOURS), "smpte432")) * 255).max() <= CLOSE


def test_the_matrix_of_dnxhr_is_the_one_that_its_container_names(context: Context, tmp_path: Path) -> None:
    # ffmpeg's encoder of DNxHR writes BT.709 into the stream, whatever the pictures are.
    encoder = ("-c:v", "dnxhd", "-profile:v", "dnxhr_hqx")
    tags = {"primaries": "bt2020", "transfer": "bt709", "matrix": "bt2020nc"}
    clip = make_chart(tmp_path / "chart.mov", COLOURS, **tags, pixels="yuv422p10le", video=encoder, size=(640, 360))

    found, _ = converted(context, clip)

    assert np.abs(found - signal_of(in_bt709(displayed(COLOURS), "bt2020")) * 255).max() <= CLOSE / 2


def test_pq_shows_what_lies_below_reference_white_as_bright_as_sdr_does(context: Context, tmp_path: Path) -> None:
    # The last two patches are BT.2408's middle grey and reference white.
    light = np.array([*(displayed(COLOURS[1:7]) * 203), (26, 26, 26), (203, 203, 203)])
    tags = {"primaries": "bt2020", "transfer": "smpte2084", "matrix": "bt2020nc"}
    clip = make_chart(tmp_path / "chart.mp4", pq(light), **tags, video=X265)

    found, findings = converted(context, clip)

    right = in_bt709(light / 203, "bt2020")
    dark = right.max(axis=1) <= 0.75
    assert dark.sum() >= 4
    assert np.abs(found - signal_of(right) * 255)[dark].max() <= CLOSE
    assert ((found[7] >= 0.9 * 255) & (found[7] <= 255)).all()
    assert "hdr" in findings


@pytest.mark.parametrize("only_the_message_says_so", [False, True])
def test_hlg_shows_reference_white_near_white_and_grey_as_sdr_does(
    context: Context, tmp_path: Path, only_the_message_says_so: bool
) -> None:
    # BT.2408: 38 % is a grey card of 18 %, 75 % reference white.
    signal = np.repeat(np.array([[0.0], [0.38], [0.75], [1.0]] * 2), 3, axis=1)
    tags = {"primaries": "bt2020", "matrix": "bt2020nc"}
    tags["transfer"] = "bt2020-10" if only_the_message_says_so else "arib-std-b67"
    # SEI "alternative transfer characteristics": what a broadcaster adds, so that old decoders show the picture.
    message = ("-x265-params", "log-level=1:atc-sei=18") if only_the_message_says_so else ()
    clip = make_chart(tmp_path / "chart.mp4", signal, **tags, video=X265, extra=message)

    found, findings = converted(context, clip)

    black, grey, white, peak = found[:4] / 255
    assert (black <= 0.02).all()
    assert (abs(grey - 0.41) <= 0.03).all()
    assert ((white >= 0.90) & (white <= 1.0)).all()
    assert ((peak > white) & (peak <= 1.0)).all()
    assert "hdr" in findings


def test_a_saturated_light_keeps_its_hue_under_the_tone_map(context: Context, tmp_path: Path) -> None:
    # Five times reference white, inside BT.709: red, green, blue and what lies between.
    chart = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0.3, 0], [0, 0.3, 1]])
    light = in_bt709(np.eye(3), "bt2020")
    wide = (chart @ np.linalg.inv(light)).clip(0) * 1000
    tags = {"primaries": "bt2020", "transfer": "smpte2084", "matrix": "bt2020nc"}
    clip = make_chart(tmp_path / "chart.mp4", pq(wide), **tags, video=X265)

    found, _ = converted(context, clip)

    # The steps of 10 bits at such a light are coarse for a component that is nearly dark.
    assert np.abs(found - signal_of(chart) * 255).max() <= 3 * CLOSE


def test_stills_have_the_colours_of_the_picture(tmp_path: Path) -> None:
    tags = {"primaries": "bt709", "transfer": "bt709", "matrix": "bt709"}
    (folder := tmp_path / "title").mkdir()
    title = make_title(folder, make_chart(tmp_path / "chart.mp4", COLOURS, **tags), change=lowest)

    for still in (title.stills.poster, title.stills.thumbnail):
        with av.open(title.ctx.store.readable(still)) as jpeg:
            picture = next(jpeg.decode(video=0))
        # Whoever reads a JPEG takes it for BT.601 and full range (JFIF), whatever it was made from.
        assert np.abs(patches(full_rgb(picture, "bt470bg")) - COLOURS * 255).max() <= CLOSE


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, ("bt709", "bt709", "bt709")),
        ({"width": 1280, "height": 536}, ("bt709", "bt709", "bt709")),
        ({"width": 640, "height": 360}, ("bt709", "bt709", "smpte170m")),
        ({"width": 854, "height": 480}, ("bt709", "bt709", "smpte170m")),
        ({"width": 720, "height": 480}, ("smpte170m", "bt709", "smpte170m")),
        ({"width": 704, "height": 576}, ("bt470bg", "bt709", "smpte170m")),
        ({"width": 544, "height": 576, "sample_aspect_ratio": "24:17"}, ("bt470bg", "bt709", "smpte170m")),
        ({"color_space": "bt2020nc"}, ("bt2020", "bt709", "bt2020nc")),
        ({"color_primaries": "bt2020"}, ("bt2020", "bt709", "bt2020nc")),
        ({"color_transfer": "smpte2084"}, ("bt2020", "smpte2084", "bt2020nc")),
        ({"color_transfer": "arib-std-b67", "color_space": "bt709"}, ("bt2020", "arib-std-b67", "bt709")),
        ({"color_primaries": "bt709", "color_transfer": "iec61966-2-1"}, ("bt709", "bt709", "bt709")),
        ({"color_space": "bt2020c"}, ("bt2020", "bt709", "bt2020nc")),
        ({"color_primaries": "smpte240m"}, ("smpte170m", "bt709", "bt709")),
        ({"color_primaries": "reserved", "color_space": "unknown"}, ("bt709", "bt709", "bt709")),
        ({"pixel_format": "gbrp", "color_space": "bt709"}, ("bt709", "bt709", "gbr")),
    ],
)
def test_what_is_not_tagged_is_read_as_players_read_it(tags: dict[str, Any], expected: tuple[str, str, str]) -> None:
    colours = read_as(video(**tags))

    assert expected == (colours.primaries, colours.transfer, colours.matrix)


def test_bt709_and_what_the_scaler_reads_pay_nothing() -> None:
    for tags in (
        {},
        {"color_primaries": "bt709", "color_transfer": "bt709", "color_space": "bt709"},
        {"width": 640, "height": 360, "color_space": "smpte170m"},
        {"color_range": "pc"},
        {"pixel_format": "gbrp"},
    ):
        assert SourceTreatment() == sdr_treatment(video(**tags), analysis())


def test_what_is_converted_is_part_of_the_recipe_and_said() -> None:
    source = video(color_primaries="smpte432", color_transfer="bt709", color_space="bt709")

    assert sdr_treatment(source, analysis()).colours == Colours(primaries="smpte432", transfer="bt709", matrix="bt709")
    (finding,) = colour_findings(source)
    assert finding.message == "colours of Display P3 are converted to BT.709"
    untagged = video(width=720, height=576)
    assert {each.code for each in colour_findings(untagged)} == {"no_colour_tags", "converted_colours"}
    assert "primaries BT.601 (625 lines)" in colour_findings(untagged)[0].message
