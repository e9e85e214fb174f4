"""What is published of sources with several kinds of sound: measured in the set, as players get it."""

from __future__ import annotations

import json
from pathlib import Path

import m3u8
import numpy as np  # noqa: TID253
import pytest

from tests.clips import AAC, H264, run_ffmpeg
from tests.reader import Sound, read_dash, read_hls
from tests.titles import publish_quickly

PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=1")


def tone(frequency: int) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"sine=frequency={frequency}:duration=1:sample_rate=48000")


SILENCE = ("-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono:d=1")


def pitch_hz(sound: Sound, channel: int) -> int:
    """The strongest frequency of a channel, to the nearest 10 Hz."""
    part = sound.channels[channel, 12_000:36_000]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(part.size)))
    return int(round(float(spectrum.argmax()) * sound.rate_hz / part.size, -1))


def test_narration_and_commentary_are_marked_and_never_the_default(tmp_path: Path) -> None:
    path = tmp_path / "described.mkv"
    run_ffmpeg(
        [
            *(*PICTURE, *tone(300), *tone(500), *tone(700)),
            *("-map", "0", "-map", "1", "-map", "2", "-map", "3", *H264, *AAC),
            *("-disposition:a:0", "default+visual_impaired", "-disposition:a:1", "comment", "-disposition:a:2", "0"),
            *(part for number in range(3) for part in (f"-metadata:s:a:{number}", "language=eng")),
            str(path),
        ]
    )

    made = publish_quickly(tmp_path / "title", path)

    hls, dash = read_hls(made.folder), read_dash(made.folder)
    by_label = {track.label: track for track in hls.of("audio")}
    assert list(by_label) == ["English", "English (Audio description)", "English (Commentary)"]
    assert [track.default for track in by_label.values()] == [True, False, False]
    assert [track.characteristics for track in by_label.values()] == [
        (),
        ("public.accessibility.describes-video",),
        ("public.auxiliary-content",),
    ]
    assert [pitch_hz(hls.sound(track.name), 0) for track in by_label.values()] == [700, 300, 500]
    master = m3u8.M3U8((made.folder / "hls.m3u8").read_text(), strict=True)
    assert [track.autoselect for track in master.media] == ["YES", "YES", "NO"]
    assert {track.label: set(track.roles) for track in dash.of("audio")} == {
        "English": {"main"},
        "English (Audio description)": {"alternate", "description", "1"},
        "English (Commentary)": {"commentary"},
    }


def test_every_audio_group_has_the_same_members_and_no_language_twice(tmp_path: Path) -> None:
    path = tmp_path / "groups.mkv"
    run_ffmpeg(
        [
            *(*PICTURE, *tone(300), *tone(500), *tone(700)),
            *("-map", "0", "-map", "1", "-map", "2", "-map", "3", *H264, "-c:a", "ac3"),
            *("-ac:a:0", "2", "-ac:a:1", "6", "-ac:a:2", "2"),
            *("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=eng", "-metadata:s:a:2", "language=ger"),
            str(path),
        ]
    )

    made = publish_quickly(tmp_path / "title", path)

    published = read_hls(made.folder)
    groups = {
        group: [
            (track.label, track.language, track.channels) for track in published.of("audio") if track.group == group
        ]
        for group in ("stereo", "surround")
    }
    assert groups == {
        "stereo": [("English", "en", "2"), ("Deutsch", "de", "2")],
        "surround": [("English", "en", "6"), ("Deutsch", "de", "2")],
    }
    # The stereo track is the source's own, no mix of the other.
    assert pitch_hz(published.sound("aac_en_stereo"), 0) == 300
    assert {track.label for track in read_dash(made.folder).of("audio")} == {"English", "English (5.1)", "Deutsch"}


@pytest.mark.parametrize(
    ("right", "expected", "code"), [(tone(700), (300, 700), None), (SILENCE, (300, 300), "half_silent")]
)
def test_left_and_right_as_mono_tracks_are_one_and_silent_ones_are_left_out(
    tmp_path: Path, right: tuple[str, ...], expected: tuple[int, int], code: str | None
) -> None:
    path = tmp_path / "mono.mxf"
    maps = [part for number in range(5) for part in ("-map", str(number))]
    run_ffmpeg(
        [*PICTURE, *tone(300), *right, *SILENCE, *SILENCE, *maps, "-c:v", "mpeg2video", "-c:a", "pcm_s16le", str(path)]
    )

    made = publish_quickly(tmp_path / "title", path)

    published = read_hls(made.folder)
    assert len(published.of("audio")) == 1
    sound = published.sound()
    assert (pitch_hz(sound, 0), pitch_hz(sound, 1)) == expected
    found = {finding.code for finding in made.sound.warnings}
    assert "silent_audio" in found
    assert ("half_silent" in found) == (code is not None)


def test_channels_of_a_wide_track_are_published_as_the_request_says(tmp_path: Path) -> None:
    path = tmp_path / "wide.mov"
    inputs = [part for number in range(8) for part in tone(200 + 100 * number)]
    joined = "".join(f"[{number}:a]" for number in range(1, 9))
    graph = f"{joined}amerge=inputs=8,pan=8C|{'|'.join(f'c{n}=c{n}' for n in range(8))}[a]"
    run_ffmpeg(
        [*PICTURE, *inputs, "-filter_complex", graph, "-map", "0", "-map", "[a]", *H264, "-c:a", "pcm_s16le", str(path)]
    )

    made = publish_quickly(tmp_path / "title", path, audio_layouts=("5.1", "stereo"))

    published = read_hls(made.folder)
    stereo, surround = published.sound("aac_und_stereo"), published.sound("aac_und_surround")
    assert [pitch_hz(stereo, channel) for channel in range(2)] == [800, 900]
    # AAC's order is centre first; PyAV gives the one of the layout.
    assert {pitch_hz(surround, channel) for channel in (0, 1, 2, 4, 5)} == {200, 300, 400, 600, 700}


def test_chapters_are_published_for_browsers_and_for_apple_s_players(tmp_path: Path) -> None:
    said, path = tmp_path / "chapters.txt", tmp_path / "chapters.mkv"
    said.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One <b>\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1000\ntitle=Zwei\n",
        encoding="utf-8",
    )
    run_ffmpeg(
        [
            *PICTURE,
            *tone(300),
            "-i",
            str(said),
            "-map_chapters",
            "2",
            "-metadata",
            'title=The "name" of it',
            *H264,
            *AAC,
            str(path),
        ]
    )

    made = publish_quickly(tmp_path / "title", path)

    text = (made.folder / "chapters.vtt").read_text(encoding="utf-8")
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.400\nOne")
    assert "00:00:00.400 --> 00:00:01.000\nZwei" in text
    listed = json.loads((made.folder / "chapters.json").read_text(encoding="utf-8"))
    assert [(each["start-time"], each["titles"][0]["title"]) for each in listed] == [(0.0, "One <b>"), (0.4, "Zwei")]
    master = m3u8.M3U8((made.folder / "hls.m3u8").read_text(), strict=True)
    assert [(each.data_id, each.value or each.uri) for each in master.session_data] == [
        ("com.apple.hls.title", "The name of it"),
        ("com.apple.hls.chapters", "chapters.json"),
    ]
    assert "<Title>The &quot;name&quot; of it</Title>" in (made.folder / "dash.mpd").read_text().replace('"', "&quot;")
    report = json.loads((made.folder / "report.json").read_text())
    assert [each["title"] for each in report["chapters"]] == ["One <b>", "Zwei"]
    assert report["files"]["chapters"] == "chapters.vtt"
