"""At which rate bursts, holes, film in fields and pictures of fields go out, and that old formats are published."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from include.adapters.ffmpeg.excerpts import RATE_HZ, _even
from include.domain.plan.plan import Plan
from tests.clips import run_ffmpeg
from tests.reader import Pictures, assert_in_sync, read_hls
from tests.synced import make_synced
from tests.titles import Title, lowest, make_title, publish_quickly, with_renditions

FILM = Fraction(24000, 1001)
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "3")
FIELDS = (*MPEG2, "-flags", "+ilme+ildct")


def shown(made: Title) -> Pictures:
    return read_hls(made.folder).pictures()


def distances(pictures: Pictures) -> set[float]:
    return {round(after - before, 4) for before, after in itertools.pairwise(pictures.times_s)}


def codes(made: Title) -> set[str]:
    return {finding.code for finding in made.source.warnings}


def test_a_burst_after_a_still_keeps_all_of_its_pictures(tmp_path: Path) -> None:
    """Two seconds at 1 fps and one at 60 are 21 fps on average."""
    burst = "select='lt(n,120)*not(mod(n,60))+gte(n,120)'"
    clip = make_synced(tmp_path / "burst.mp4", at=(2.2, 2.7), seconds=3, rate="60", filters=burst)

    made = publish_quickly(tmp_path / "title", clip)

    pictures = shown(made)
    assert (made.decision.frame_rate, pictures.frames) == ("60", 180)
    assert_in_sync(read_hls(made.folder), at=(2.2, 2.7))
    assert "variable_frame_rate" in codes(made)


def test_a_hole_in_a_recording_leaves_its_rate_as_it_is(tmp_path: Path) -> None:
    hole = "select='not(between(n,20,60))'"
    clip = make_synced(tmp_path / "hole.mp4", at=(0.4, 2.8), seconds=3.2, filters=hole)

    made = publish_quickly(tmp_path / "title", clip)

    assert (made.decision.frame_rate, shown(made).frames) == ("25", 80)
    assert_in_sync(read_hls(made.folder), at=(0.4, 2.8))


@pytest.mark.parametrize("first", ["top", "bottom"])
def test_film_in_the_fields_of_video_goes_out_as_film(tmp_path: Path, first: str) -> None:
    """Each picture of the film is there once, also where no flag tells of fields."""
    spread = f"gblur=sigma=1,telecine=first_field={first}:pattern=23"
    film = {"rate": "24000/1001", "filters": spread, "size": "320x240", "seconds": 3.003}
    moments = tuple(float(number / FILM) for number in (20, 45))
    if first == "top":
        clip = make_synced(tmp_path / "film.ts", at=moments, video=FIELDS, audio=("-c:a", "mp2"), **film)
    else:
        clip = make_synced(tmp_path / "film.mp4", at=moments, **film)

    made = publish_quickly(tmp_path / "title", clip)

    assert made.analysis.pulled_down
    assert made.analysis.top_field_first is (first == "top")
    pictures = shown(made)
    assert (made.decision.frame_rate, pictures.frames) == ("24000/1001", 72)
    assert distances(pictures) == {0.0417}
    # A white picture that was mixed with a neighbour's field, or shown twice, is no single flash.
    assert_in_sync(read_hls(made.folder), at=moments)
    assert all(float(b - a) > 0 for a, b in itertools.pairwise(pictures.times_s))


def test_a_comparison_from_the_middle_meets_the_same_pictures_of_the_film(tmp_path: Path) -> None:
    """VMAF reads windows of a long title: were cycles counted from there, pictures would stand at other times."""
    clip = make_synced(
        tmp_path / "long.ts", rate="24000/1001", seconds=26.026, at=(1.001,), size="192x144",
        filters="gblur=sigma=1,telecine=pattern=23", video=FIELDS, audio=("-c:a", "mp2"),
    )  # fmt: skip

    verdicts = make_title(_made(tmp_path / "title"), clip, change=lowest, stills=False).check()

    score = verdicts.renditions[0].vmaf
    assert score is not None
    assert score.sampled
    assert score.p1 > 60


def test_video_of_fields_stays_at_the_rate_of_its_frames(tmp_path: Path) -> None:
    clip = make_synced(
        tmp_path / "fields.ts", rate="60000/1001", seconds=3.003, size="320x240", video=FIELDS, audio=("-c:a", "mp2"),
        at=(1.0,), filters="tinterlace=interleave_top,setfield=tff,fps=30000/1001",
    )  # fmt: skip

    made = publish_quickly(tmp_path / "title", clip)

    assert (made.analysis.interlaced, made.analysis.pulled_down) == (True, False)
    assert (made.decision.frame_rate, shown(made).frames) == ("30000/1001", 90)


def test_film_at_25_in_fields_that_are_not_combed_is_no_video_of_fields(tmp_path: Path) -> None:
    clip = make_synced(
        tmp_path / "psf.ts", seconds=2, size="320x240", video=(*FIELDS, "-field_order", "tt"), audio=("-c:a", "mp2"),
        at=(0.4, 1.2), filters="gblur=sigma=6,setfield=tff",
    )  # fmt: skip

    made = publish_quickly(tmp_path / "title", clip)

    assert "interlaced" in codes(made)
    assert not made.decision.renditions[0].treatment.deinterlace
    assert (made.decision.frame_rate, shown(made).frames) == ("25", 50)


def test_a_tier_may_have_a_picture_made_of_each_field(tmp_path: Path) -> None:
    clip = make_synced(
        tmp_path / "fields.ts", rate="50", seconds=2, size="320x288", video=FIELDS, audio=("-c:a", "mp2"),
        at=(1.0,), filters="tinterlace=interleave_top,setfield=tff,fps=25",
    )  # fmt: skip

    def twice(decision: Plan) -> Plan:
        assert {each.treatment.deinterlace for each in decision.renditions} == {True}
        doubled = with_renditions(
            lowest(decision),
            lambda each: each.model_copy(
                update={
                    "frame_rate": "50",
                    "gop_frames": 100,
                    "frames": None,
                    "treatment": each.treatment.model_copy(update={"field_pictures": True}),
                }
            ),
        )
        return doubled.model_copy(update={"frame_rate": "50", "segment_frames": 300})

    made = make_title(_made(tmp_path / "title"), clip, change=twice, stills=False)
    verdicts = made.check()
    made.package(verdicts)

    pictures = shown(made)
    assert (pictures.frames, distances(pictures)) == (100, {0.02})
    assert verdicts.renditions[0].vmaf is not None


def test_fields_that_are_only_flagged_to_be_repeated_give_film(tmp_path: Path) -> None:
    """Soft telecine: the pictures of a film, with flags that make 59.94 fields a second of them."""
    raw = tmp_path / "film.m2v"
    run_ffmpeg(
        ["-f", "lavfi", "-i", "testsrc2=size=160x96:rate=24000/1001", "-t", "2.002", *MPEG2, "-bf", "0", str(raw)]
    )
    raw.write_bytes(_with_repeated_fields(raw.read_bytes()))
    field = "floor(N/4)*10+gte(mod(N\\,4)\\,1)*3+gte(mod(N\\,4)\\,2)*2+gte(mod(N\\,4)\\,3)*3"
    clip = tmp_path / "film.vob"
    tone = ["-f", "lavfi", "-i", "sine=sample_rate=48000:duration=2.002", "-c:a", "ac3"]
    run_ffmpeg(["-i", str(raw), *tone, "-c:v", "copy", "-bsf:v", f"setts=ts=({field})*1001/60000/TB", str(clip)])

    made = publish_quickly(tmp_path / "title", clip)

    pictures = shown(made)
    assert (made.source.video.frame_rate, made.decision.frame_rate) == ("24000/1001", "24000/1001")
    assert abs(pictures.frames - 48) <= 1
    assert "other_frame_rate" in codes(made)
    assert len({round(value, 3) for value in pictures.luma}) >= 40


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("disc.vob", {"video": MPEG2, "audio": ("-c:a", "ac3"), "filters": "setsar=12/11"}),
        ("disc.mpg", {"video": ("-c:v", "mpeg1video", "-q:v", "3"), "audio": ("-c:a", "mp2")}),
        (
            "camera.avi",
            {
                "rate": "15",
                "video": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
                "audio": ("-c:a", "pcm_u8", "-ar", "11025", "-ac", "1"),
            },
        ),
        ("capture.mov", {"video": ("-c:v", "v210"), "audio": ("-c:a", "pcm_s24le", "-ar", "32000")}),
        ("capture.avi", {"video": ("-c:v", "rawvideo", "-pix_fmt", "bgr24"), "audio": ("-c:a", "pcm_s16le")}),
        (
            "tape.avi",
            {"size": "720x576", "video": ("-c:v", "dvvideo", "-pix_fmt", "yuv420p"), "audio": ("-c:a", "pcm_s16le")},
        ),
    ],
)
def test_discs_old_cameras_tapes_and_capture_cards_are_published_in_sync(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    clip = make_synced(tmp_path / name, at=(0.4, 1.2), seconds=2, **options)

    made = publish_quickly(tmp_path / "title", clip)

    assert abs(shown(made).frames - 2 * int(options.get("rate", "25"))) <= 1
    assert_in_sync(read_hls(made.folder), at=(0.4, 1.2))


def test_one_frame_of_sound_whose_time_is_wrong_leaves_no_hole_in_what_is_compared() -> None:
    """As AC-3 in program streams has them; a jump that lasts is a jump."""
    step = 256 / RATE_HZ
    times = [0.5 + number * step for number in range(6)]
    late = [*times[:2], times[2] + step, *times[3:]]
    jumped = [*times[:3], *(time_s + 0.1 for time_s in times[3:])]

    for given, expected in ((late, times), (jumped, jumped)):
        assert [time_s for time_s, _ in _even([time_s, 256] for time_s in given)] == pytest.approx(expected)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _with_repeated_fields(data: bytes) -> bytes:
    """An MPEG-2 stream of 24000/1001 whose headers say 30000/1001, and which fields are shown twice (ISO 13818-2)."""
    changed, at, number = bytearray(data), 0, 0
    while (at := changed.find(b"\0\0\1", at)) >= 0 and at + 8 <= len(changed):
        code, kind = changed[at + 3], changed[at + 4] >> 4
        if code == 0xB3:
            changed[at + 7] = changed[at + 7] & 0xF0 | 4
        elif code == 0xB5 and kind == 1:
            changed[at + 5] &= ~0x08 & 0xFF  # not a progressive sequence: a picture may have three fields
        elif code == 0xB5 and kind == 8:
            top_first, repeated = ((1, 1), (0, 0), (0, 1), (1, 0))[number % 4]
            changed[at + 7] = changed[at + 7] & 0x7D | top_first << 7 | repeated << 1
            number += 1
        at += 3
    return bytes(changed)
