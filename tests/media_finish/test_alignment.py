"""The checks hold what was made against the source's own time: planted faults are found, sound titles pass."""

from __future__ import annotations

import dataclasses
import math
from array import array
from pathlib import Path
from typing import Any

import pytest

from include.adapters.ffmpeg.excerpts import CHANNELS, RATE_HZ, sound_within
from include.base.errors import CoreRungMissing, PackagerFailed
from include.domain.media.alignment import sound_lag
from include.domain.media.captions import webvtt
from include.domain.media.cue_reading import read_webvtt
from include.domain.media.media import Window
from include.domain.outcome.report import Report
from include.domain.outcome.results import AudioResult, CheckOutcome, TextResult
from tests.clips import AAC, run_ffmpeg
from tests.media_finish.test_check import rendition_file, verdict_on, with_rendition
from tests.synced import make_synced
from tests.titles import Title, fast, lowest, make_title

LENGTH_S = 12.0
AT = (1.0, 2.2, 5.0, 6.6, 9.0, 11.2)
HELD = "stop_duration=1:stop_mode=clone,trim=end=12"


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Title:
    folder = tmp_path_factory.mktemp("alignment")
    clip = make_synced(
        folder / "synced.mp4", at=AT, seconds=LENGTH_S, size="320x180", extra=("-metadata:s:a", "language=eng")
    )
    return make_title(folder, clip, change=fast, stills=False)


def with_sound(title: Title, file: Path, **changes: Any) -> Title:
    """The title with its one audio track replaced by ``file``."""
    key = title.ctx.key(f"audio/{file.name}")
    title.ctx.store.put_bytes(key, file.read_bytes())
    track = title.sound.renditions[0].model_copy(update={"uri": key, **changes})
    return dataclasses.replace(title, sound=AudioResult(renditions=(track,)))


def changed_sound(title: Title, folder: Path, filters: str) -> Title:
    file = folder / "changed.mp4"
    source = title.ctx.store.readable(title.sound.renditions[0].uri)
    run_ffmpeg(
        ["-i", str(source), "-af", f"{filters},apad,atrim=end_sample={round(LENGTH_S * 48_000)}", *AAC, str(file)]
    )
    return with_sound(title, file)


def test_a_sound_title_passes_at_little_cost(synced: Title) -> None:
    result = synced.check()

    assert [each.outcome for each in (*result.renditions, *result.tracks)] == [CheckOutcome.PASS] * 3
    assert result.tracks[0].samples == pytest.approx(LENGTH_S * 48_000, abs=1024)
    assert result.withheld == ()


def test_reading_a_source_that_cannot_be_sought_for_excerpts_of_it_is_told(synced: Title) -> None:
    told: list[tuple[float, str]] = []
    ctx = dataclasses.replace(synced.ctx, report=lambda share, message: told.append((share, message)))
    source = synced.source.model_copy(update={"seeks": False})

    dataclasses.replace(synced, ctx=ctx, source=source).check()

    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    places = {
        message.partition(": ")[0] for _, message in told if message.startswith("comparing with the mezzanine at ")
    }
    assert places == {"comparing with the mezzanine at 0 s", "comparing with the mezzanine at 6 s"}
    for place in places:
        assert len({message for _, message in told if message.startswith(place)}) >= 2, place


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ("adelay=100:all=1", "its sound comes 0.10 s late"),
        ("atrim=start=0.1,asetpts=PTS-STARTPTS", "its sound comes 0.10 s early"),
        ("atempo=0.96", "sound"),
        ("aselect='lt(t,4)+gt(t,4.5)',asetpts=N/SR/TB", r"its sound comes 0\.(49|50) s early"),
        ("volume=0:enable='gt(t,6)'", "does not have the mezzanine's sound"),
    ],
)
def test_sound_at_another_time_than_in_the_source_does_not_go_out(
    synced: Title, tmp_path: Path, filters: str, said: str
) -> None:
    with pytest.raises(CoreRungMissing, match=said) as caught:
        changed_sound(synced, tmp_path, filters).check()

    assert caught.value.reason == "main_sound_missing"


@pytest.mark.parametrize(("filters", "factor"), [("aloop=loop=1:size=576000", 2.0), ("atrim=end=11", 11 / 12)])
def test_doubled_and_missing_samples_are_counted(synced: Title, tmp_path: Path, filters: str, factor: float) -> None:
    file = tmp_path / "changed.mp4"
    source = synced.ctx.store.readable(synced.sound.renditions[0].uri)
    run_ffmpeg(["-i", str(source), "-af", filters, *AAC, str(file)])

    with pytest.raises(CoreRungMissing, match=rf"has {str(round(LENGTH_S * factor))[:2]}|samples, the title's"):
        with_sound(synced, file).check()


def test_a_second_track_that_is_out_of_sync_is_left_out_and_degrades_the_title(synced: Title, tmp_path: Path) -> None:
    bad = changed_sound(synced, tmp_path, "adelay=200:all=1").sound.renditions[0]
    main = synced.sound.renditions[0]
    second = bad.model_copy(update={"name": "aac_de_stereo", "language": "de", "sound": "de", "default": False})
    title = dataclasses.replace(synced, sound=AudioResult(renditions=(main, second)))

    result = title.check()

    assert result.withheld == ("aac_de_stereo",)
    assert result.degraded is True
    assert "late" in result.of_tracks[0]
    packaged = title.package(result)
    assert packaged.degraded is True
    assert packaged.missing == ("aac_de_stereo",)
    assert not any(name.startswith("audio/aac_de") for name in packaged.files)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ("tpad=start_duration=0.12:start_mode=clone,trim=end=12", "its picture comes 0.12 s late"),
        (
            f"trim=start=0.12,setpts=PTS-STARTPTS,tpad={HELD}",
            "its picture comes 0.12 s early",
        ),
        ("reverse", "its picture comes|does not show the mezzanine's picture"),
        ("negate", "does not show the mezzanine's picture"),
        ("drawbox=color=gray:thickness=fill:enable='gt(t,5)'", "does not show the mezzanine's picture"),
    ],
)
def test_pictures_at_another_time_or_of_something_else_fail(
    synced: Title, tmp_path: Path, filters: str, said: str
) -> None:
    name = synced.decision.renditions[-1].name
    file = tmp_path / "changed.mp4"
    recipe = ("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "scenecut=0", "-g", "50")
    run_ffmpeg(["-i", str(rendition_file(synced, name)), "-vf", filters, *recipe, "-an", str(file)])

    result = with_rendition(synced, name, file).check()

    verdict = verdict_on(result, name)
    assert verdict.outcome is CheckOutcome.FAIL
    assert any(part in " ".join(verdict.reasons) for part in said.split("|")), verdict.reasons
    assert result.degraded is True


def test_a_set_that_declares_other_samples_than_were_decoded_is_refused(synced: Title) -> None:
    result = synced.check()
    tracks = tuple(each.model_copy(update={"samples": each.samples + 4800}) for each in result.tracks)
    renditions = tuple(each.model_copy(update={"frames": 299}) for each in result.renditions)

    with pytest.raises(PackagerFailed, match="samples were decoded"):
        synced.package(result.model_copy(update={"tracks": tracks}))
    with pytest.raises(PackagerFailed, match="declares 300 frames, 299 were decoded"):
        synced.package(result.model_copy(update={"renditions": renditions}))


@pytest.fixture(scope="module")
def subtitled(tmp_path_factory: pytest.TempPathFactory) -> Title:
    """A transport-stream-like clock in Matroska: everything begins at 5 s, with three cues."""
    folder = tmp_path_factory.mktemp("subtitled")
    text = folder / "en.srt"
    text.write_text(
        "\n".join(
            f"{number}\n00:00:{at:02d},500 --> 00:00:{at + 1:02d},500\nLine {number}\n"
            for number, at in enumerate((6, 8, 10), start=1)
        )
    )
    picture = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-f", "lavfi", "-i", "sine"]
    run_ffmpeg(
        [
            *("-itsoffset", "5", *picture[:4], "-itsoffset", "5", *picture[4:], "-i", str(text)),
            *("-map", "0:v", "-map", "1:a", "-map", "2:s", "-t", "13", "-copyts"),
            *("-c:v", "libx264", "-preset", "ultrafast", *AAC, "-c:s", "srt", str(folder / "subtitled.mkv")),
        ]
    )
    return make_title(folder, folder / "subtitled.mkv", change=lowest, stills=False)


def test_subtitles_that_come_with_the_mezzanines_pass(subtitled: Title) -> None:
    result = subtitled.check()

    assert [(each.track, each.outcome) for each in result.texts] == [("und", CheckOutcome.PASS)]
    assert not result.degraded


def test_shifted_subtitles_do_not_go_out(subtitled: Title) -> None:
    (track,) = subtitled.text.renditions
    cues = read_webvtt(subtitled.ctx.store.get_bytes(track.uri).decode()).cues
    late = [dataclasses.replace(cue, start_ms=cue.start_ms + 100, end_ms=cue.end_ms + 100) for cue in cues]
    key = subtitled.ctx.key("text/late.vtt")
    subtitled.ctx.store.put_bytes(key, webvtt(late).encode())
    shifted = dataclasses.replace(subtitled, text=TextResult(renditions=(track.model_copy(update={"uri": key}),)))

    result = shifted.check()

    assert result.degraded
    assert result.of_tracks == ("subtitles und are left out: their cues come 0.10 s late",)
    shifted.package(result)
    report = Report.from_json((shifted.folder / "report.json").read_bytes())
    assert report.missing == ("text_und",)
    assert report.text == ()
    assert "SUBTITLES" not in (shifted.folder / "hls.m3u8").read_text()


def test_a_tone_of_which_the_last_pieces_were_not_read_is_not_taken_for_one_that_comes_late(tmp_path: Path) -> None:
    tone = array("h", (round(9000 * math.sin(number / 2.5)) for number in range(RATE_HZ * 2) for _ in range(CHANNELS)))
    window = Window(start_s=0.0, duration_s=2.0)

    def read(name: str, seconds: float) -> tuple[float, ...]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "sound0.pcm").write_bytes(tone[: round(seconds * RATE_HZ) * CHANNELS].tobytes())
        frames = round(seconds * 100)
        (tmp_path / name / "sound0.txt").write_text("".join(f"{number} 1/100 80\n" for number in range(frames)))
        return sound_within(tmp_path / name, 0, window, zero_s=0.0)

    whole, cut = read("whole", 2.0), read("cut", 1.78)

    assert (len(whole), len(cut)) == (200, 178)
    assert sound_lag(cut, whole) is None, "a steady tone says nothing of time"


def test_the_small_gaps_of_joined_recordings_do_not_add_up(tmp_path: Path) -> None:
    # Repeated as it is, AC-3 lacks one of its frames of 32 ms at each joint: by its times, not in what is decoded.
    piece, sounds, joined = tmp_path / "piece.mka", tmp_path / "sounds.mka", tmp_path / "joined.mkv"
    noise = "anoisesrc=color=pink:duration=8:amplitude=0.3:seed=1,tremolo=f=3:d=0.9"
    run_ffmpeg(["-f", "lavfi", "-i", noise, "-ac", "2", "-ar", "48000", "-c:a", "ac3", str(piece)])
    run_ffmpeg(["-stream_loop", "-1", "-i", str(piece), "-t", "36", "-c", "copy", str(sounds)])
    picture = ["-f", "lavfi", "-i", "testsrc2=size=192x108:rate=10:duration=36"]
    streams = ["-map", "0:v", "-map", "1:a", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "copy"]
    run_ffmpeg([*picture, "-i", str(sounds), *streams, str(joined)])

    result = make_title(tmp_path, joined, change=lowest, stills=False).check()

    assert [(each.outcome, each.reasons) for each in result.tracks] == [(CheckOutcome.PASS, ())]
