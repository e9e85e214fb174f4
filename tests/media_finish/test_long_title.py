"""A title of twelve hours, all the way to its set: 4,320 pictures of ten seconds each, so that it costs seconds."""

from __future__ import annotations

import itertools
import re
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from include.adapters.manifests.hls import parsed
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.domain.media.captions import timestamp
from include.domain.outcome.results import PackageResult
from include.stages.check import LISTEN_FROM
from include.stages.package import SERVED
from tests.clips import run_ffmpeg
from tests.titles import Title, lowest, make_title

HOURS = 12
DURATION_S = HOURS * 3600
EACH_S = 10
PICTURES = DURATION_S // EACH_S


Told = list[tuple[float, str]]
"""Share done and message."""


@pytest.fixture(scope="module")
def told() -> Told:
    """What checks and packaging of the title have told of their progress, once that is made."""
    return []


@pytest.fixture(scope="module")
def long_title(tmp_path_factory: pytest.TempPathFactory, told: Told) -> tuple[Title, PackageResult]:
    """From black at its beginning to white at its end, with a subtitle every ten seconds, once as ASS."""
    folder = tmp_path_factory.mktemp("long")
    cues = (
        f"{n + 1}\n{timestamp(n * EACH_S * 1000).replace('.', ',')} --> "
        f"{timestamp((n * EACH_S + 4) * 1000).replace('.', ',')}\nCue {n}\n"
        for n in range(PICTURES)
    )
    (folder / "cues.srt").write_text("\n".join(cues))
    (folder / "in").mkdir()
    clip = folder / "in" / "long.mkv"
    picture = f"color=c=white:size=160x90:rate=1/{EACH_S},fade=t=in:s=0:n={PICTURES}"
    coded = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "2", "-pix_fmt", "yuv420p")
    texts = ("-map", "1:s", "-map", "1:s", "-c:s:0", "srt", "-metadata:s:s:0", "language=eng",
             "-c:s:1", "ass", "-metadata:s:s:1", "language=deu")  # fmt: skip
    inputs = ["-f", "lavfi", "-i", picture, "-i", str(folder / "cues.srt"), "-map", "0:v"]
    run_ffmpeg([*inputs, *texts, "-frames:v", str(PICTURES), *coded, str(clip)])
    title = make_title(folder, clip, change=lowest)
    title = replace(title, ctx=replace(title.ctx, report=lambda share, message: told.append((share, message))))
    return title, title.package(title.check())


def test_checks_and_packaging_tell_how_far_they_are(long_title: tuple[Title, PackageResult], told: Told) -> None:
    checks, packaging = told[: told.index((0.0, "fetching h264_144p"))], told[told.index((0.0, "fetching h264_144p")) :]

    assert any(f"of {PICTURES}" in message for _, message in checks)
    for text in ("en", "de"):
        assert len([message for _, message in checks if message.startswith(f"reading text {text}: ")]) > 50, text
    for shares in ([share for share, _ in checks], [share for share, _ in packaging]):
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
    storing = [share for share, message in packaging if message.startswith("storing the set")]
    assert len(storing) > 10
    assert (min(storing), max(storing)) == (pytest.approx(SERVED, abs=0.01), pytest.approx(1.0, abs=0.01))
    assert max(share for share, message in checks if message.startswith("checking")) == pytest.approx(
        LISTEN_FROM, abs=0.01
    )


def test_it_goes_out_whole_with_every_picture(long_title: tuple[Title, PackageResult]) -> None:
    title, packaged = long_title

    assert packaged.missing == ()
    assert not packaged.degraded
    assert packaged.duration_s == pytest.approx(DURATION_S)
    assert title.verified.frames == PICTURES
    (rung,) = packaged.rungs
    media = parsed(title.folder / "video" / rung.rendition / "media.m3u8")
    assert sum(segment.duration for segment in media.segments) == pytest.approx(DURATION_S)
    assert all((title.folder / "video" / rung.rendition / segment.uri).is_file() for segment in media.segments)


@pytest.mark.parametrize("language", ["en", "de"])
def test_its_playlists_of_subtitles_reach_to_its_end(language: str, long_title: tuple[Title, PackageResult]) -> None:
    title, _ = long_title
    folder = title.folder / "text" / language

    playlist = parsed(folder / "media.m3u8")
    told = [re.findall(r"Cue (\d+)", (folder / segment.uri).read_text()) for segment in playlist.segments]

    assert sum(segment.duration for segment in playlist.segments) == pytest.approx(DURATION_S)
    assert list(dict.fromkeys(int(number) for each in told for number in each)) == list(range(PICTURES))
    assert "11:59:50.000 --> 11:59:54.000" in (folder / "full.vtt").read_text()


def test_its_sprites_show_every_picture_on_44_sheets(long_title: tuple[Title, PackageResult]) -> None:
    title, packaged = long_title
    sheets = [name for name in packaged.files if re.fullmatch(r"images/sprite_\d+\.jpg", name)]
    cues = re.findall(
        r"(\S+) --> (\S+)\n(\S+)#xywh=(\d+),(\d+),128,72\n", (title.folder / "images/sprite.vtt").read_text()
    )

    assert len(sheets) == 44
    assert len(cues) == PICTURES
    assert (cues[0][0], cues[-1][1]) == ("00:00:00.000", "12:00:00.000")
    assert all(one[1] == next_[0] for one, next_ in itertools.pairwise(cues))
    for number in (0, 1000, 2222, PICTURES - 1):
        _, _, sheet, x, y = cues[number]
        assert _luma(title.folder / "images" / sheet, int(x), int(y)) == pytest.approx(255 * number / PICTURES, abs=4)


def test_its_poster_is_of_where_the_analysis_looked(long_title: tuple[Title, PackageResult]) -> None:
    title, _ = long_title
    at_s = title.stills.poster_time_s

    assert at_s in (DURATION_S / 6, DURATION_S / 2, DURATION_S * 5 / 6), "the middle of a window"
    assert _luma(title.folder / "images/poster.jpg", 0, 0) == pytest.approx(255 * at_s / DURATION_S, abs=4)


def test_its_encodes_may_take_six_times_as_long_as_those_of_two_hours(long_title: tuple[Title, PackageResult]) -> None:
    title, _ = long_title

    assert [Fraction(job.rendition.frame_rate) for job in title.decision.jobs] == [Fraction(1, EACH_S)]
    assert all(job.time_limit_s <= 6 * Settings().ffmpeg_timeout_s for job in title.decision.jobs)


def _luma(path: Path, x: int, y: int) -> float:
    """Of the middle of a tile, 0-255."""
    filters = f"crop=64:36:{x + 32}:{y + 18},scale=1:1:flags=area"
    argv = [
        ffmpeg(Settings()),
        "-v",
        "error",
        "-i",
        str(path),
        "-vf",
        filters,
        "-pix_fmt",
        "gray",
        "-f",
        "rawvideo",
        "-",
    ]
    return float(subprocess.run(argv, capture_output=True, check=True).stdout[0])
