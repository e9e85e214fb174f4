"""Which streams of a mezzanine the inspection takes, and how it refuses what is encrypted or unlike the request."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from include.base.errors import MezzanineRejected
from include.domain.media.media import Inspection
from include.domain.media.rejection import ARRIVING, Reason
from include.stages.inspect import inspect
from tests.clips import AAC, H264, Clips, run_ffmpeg, stage_context

PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=1")
KEY = ("-encryption_key", "00112233445566778899aabbccddeeff", "-encryption_kid", "0123456789abcdef0123456789abcdef")


def tone(frequency: int, seconds: float = 1) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"sine=frequency={frequency}:duration={seconds}:sample_rate=48000")


def inspected(folder: Path, mezzanine: Path, **title: Any) -> Inspection:
    ctx = stage_context(folder, mezzanine, **title)
    result: Inspection = inspect.function(ctx, ctx.title)  # type: ignore[assignment]
    return result


def rejected(folder: Path, mezzanine: Path, **title: Any) -> MezzanineRejected:
    with pytest.raises(MezzanineRejected) as caught:
        inspected(folder, mezzanine, **title)
    return caught.value


def codes(source: Inspection) -> set[str]:
    return {finding.code for finding in source.warnings}


@pytest.fixture(scope="module")
def two_programmes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transport stream with the programmes 101 (English) and 202 (French)."""
    path = tmp_path_factory.mktemp("programmes") / "two.ts"
    maps = ("-map", "0:v", "-map", "1:a", "-map", "0:v", "-map", "2:a")
    languages = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra")
    listed = ("-program", "program_num=101:title=One:st=0:st=1", "-program", "program_num=202:title=Two:st=2:st=3")
    run_ffmpeg([*PICTURE, *tone(440), *tone(880), *maps, *languages, *listed, *H264, "-c:a", "mp2", str(path)])
    return path


@pytest.mark.parametrize(("asked", "language"), [(None, "en"), (202, "fr")])
def test_nothing_of_another_programme_is_taken(
    two_programmes: Path, tmp_path: Path, asked: int | None, language: str
) -> None:
    source = inspected(tmp_path, two_programmes, programme=asked)

    assert [track.language for track in source.audio] == [language]
    assert source.programme == (asked or 101)
    assert (source.video.index, source.audio[0].index) == ((0, 1) if asked is None else (2, 3))
    assert "programmes" in codes(source)
    assert "more_video" not in codes(source)


def test_a_programme_that_is_not_there_is_a_rejection(two_programmes: Path, tmp_path: Path) -> None:
    error = rejected(tmp_path, two_programmes, programme=7)

    assert error.reason == Reason.NOT_AS_REQUESTED
    assert (
        "source.programme: there is no programme 7 in the mezzanine (there are: 101 (One), 202 (Two))" in error.message
    )


@pytest.mark.parametrize("flags", [("-movflags", "+faststart"), ("-movflags", "+frag_keyframe+empty_moov"), ()])
def test_an_encrypted_mp4_is_refused_as_that_and_never_waited_for(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = tmp_path / "locked.mp4"
    run_ffmpeg([*PICTURE, *tone(440), *H264, *AAC, "-encryption_scheme", "cenc-aes-ctr", *KEY, *flags, str(path)])

    error = rejected(tmp_path, path)

    assert error.reason == Reason.ENCRYPTED
    assert error.reason not in ARRIVING
    assert "Common Encryption, scheme cenc" in error.message


def scrambled(path: Path, source: Path, pids: set[int]) -> Path:
    """The transport stream with the payload of these PIDs scrambled, as conditional access does it."""
    data = bytearray(source.read_bytes())
    for offset in range(0, len(data), 188):
        pid = (data[offset + 1] & 0x1F) << 8 | data[offset + 2]
        if pid in pids and data[offset + 3] & 0x10:
            data[offset + 3] |= 0x80
            start = offset + 4 + (1 + data[offset + 4] if data[offset + 3] & 0x20 else 0)
            data[start : offset + 188] = bytes(byte ^ 0xA5 for byte in data[start : offset + 188])
    path.write_bytes(data)
    return path


def test_a_scrambled_transport_stream_is_refused_as_encrypted(clips: Clips, tmp_path: Path) -> None:
    clip = clips("to-scramble.ts", seconds=1, size="160x90")

    error = rejected(tmp_path, scrambled(tmp_path / "scrambled.ts", clip, {0x100, 0x101}))

    assert error.reason == Reason.ENCRYPTED
    assert "scrambling" in error.message


def test_a_clear_programme_beside_a_scrambled_one_is_published(two_programmes: Path, tmp_path: Path) -> None:
    path = scrambled(tmp_path / "half.ts", two_programmes, {0x100, 0x101})

    assert inspected(tmp_path, path).programme == 202
    assert rejected(tmp_path, path, programme=101).reason == Reason.ENCRYPTED


def with_unread_track(path: Path, source: Path, track: int) -> Path:
    """The MP4 with the sample entry of an audio track renamed to AC-4, which ffmpeg does not decode."""
    data = source.read_bytes()
    position = -1
    for _ in range(track):
        position = data.index(b"mp4a", position + 1)
    # Without the box that says AAC once more.
    rest = data[position + 4 :].replace(b"esds", b"free", 1)
    path.write_bytes(data[:position] + b"ac-4" + rest)
    return path


def test_sound_that_no_decoder_reads_is_left_out_and_named(clips: Clips, tmp_path: Path) -> None:
    clip = clips("two-languages.mp4", seconds=1, size="160x90", languages=("eng", "spa"))

    source = inspected(tmp_path, with_unread_track(tmp_path / "ac4.mp4", clip, 2))

    assert [track.language for track in source.audio] == ["en"]
    assert "no decoder reads audio track 2 (ac4): it is left out" in {each.message for each in source.warnings}


def test_a_title_is_not_made_silent_because_no_decoder_reads_its_only_sound(clips: Clips, tmp_path: Path) -> None:
    clip = clips("one-language.mp4", seconds=1, size="160x90")

    error = rejected(tmp_path, with_unread_track(tmp_path / "ac4.mp4", clip, 1))

    assert error.reason == Reason.UNDECODABLE
    assert "no decoder reads the mezzanine's sound: audio track 1 (ac4)" in error.message


def test_sound_that_is_garbage_from_end_to_end_is_left_out(tmp_path: Path) -> None:
    good, bad, both = tmp_path / "good.mp4", tmp_path / "bad.mp4", tmp_path / "both.mp4"
    run_ffmpeg([*PICTURE, *tone(440), *H264, *AAC, str(good)])
    run_ffmpeg(["-i", str(good), "-map", "0:a", "-c", "copy", "-bsf:a", "noise=amount=1", str(bad)])
    run_ffmpeg(["-i", str(good), "-i", str(bad), "-map", "0", "-map", "1", "-c", "copy", str(both)])

    source = inspected(tmp_path, both)

    assert [track.index for track in source.audio] == [1]
    assert "unreadable_audio" in codes(source)


def test_a_track_without_samples_is_silent_not_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "empty-track.mkv"
    run_ffmpeg([*PICTURE, *tone(440), *H264, "-af", "atrim=end=0", "-c:a", "pcm_s16le", str(path)])

    assert "unreadable_audio" not in codes(inspected(tmp_path, path))


def test_of_quicktime_s_alternatives_the_one_that_is_switched_on_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "alternatives.mov"
    maps = ("-map", "0:v", "-map", "1:a", "-map", "2:a")
    languages = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra")
    switched = ("-disposition:a:0", "0", "-disposition:a:1", "default")
    run_ffmpeg([*PICTURE, *tone(440), *tone(880), *maps, *languages, *switched, *H264, "-c:a", "aac", str(path)])

    source = inspected(tmp_path, path)

    assert [(track.language, track.default) for track in source.audio] == [("fr", True), ("en", False)]


@pytest.mark.parametrize(("codec", "name"), [("mjpeg", "cover.mkv"), ("png", "cover-png.mkv")])
def test_a_cover_that_comes_first_and_says_nothing_is_no_picture_track(tmp_path: Path, codec: str, name: str) -> None:
    path = tmp_path / name
    cover = ("-f", "lavfi", "-i", "color=red:size=64x64:rate=25:duration=0.04")
    maps = ("-map", "1:v", "-map", "0:v", "-c:v:0", codec, "-c:v:1", "libx264", "-preset", "ultrafast")
    run_ffmpeg([*PICTURE, *cover, *maps, str(path)])

    source = inspected(tmp_path, path)

    assert (source.video.codec, source.video.index) == ("h264", 1)
    assert "attached_picture" in codes(source)


def test_a_cover_that_stands_as_long_as_the_title_is_no_picture_track(tmp_path: Path) -> None:
    path = tmp_path / "long-cover.mkv"
    cover = ("-f", "lavfi", "-i", "color=red:size=64x64:rate=1:duration=1")
    maps = ("-map", "1:v", "-map", "0:v", "-c:v:0", "mjpeg", "-c:v:1", "libx264", "-preset", "ultrafast")
    run_ffmpeg([*PICTURE, *cover, *maps, str(path)])

    assert inspected(tmp_path, path).video.codec == "h264"


def test_chapters_of_an_mp4_are_no_subtitles(tmp_path: Path) -> None:
    said, path = tmp_path / "chapters.txt", tmp_path / "chapters.mp4"
    said.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=A\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=1000\ntitle=B\n",
        encoding="utf-8",
    )
    run_ffmpeg([*PICTURE, *tone(440), "-i", str(said), "-map_chapters", "2", *H264, *AAC, str(path)])

    source = inspected(tmp_path, path)

    assert [(each.start_s, each.title) for each in source.chapters] == [
        (0.0, "A"),
        (pytest.approx(0.4, abs=0.025), "B"),
    ]
    assert source.subtitles == ()


@pytest.mark.parametrize("suffix", ["mxf", "mov"])
def test_unnamed_mono_tracks_of_professional_files_are_pairs(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs.{suffix}"
    maps = [part for number in range(5) for part in ("-map", str(number))]
    tones = [part for number in range(4) for part in tone(300 + 100 * number)]
    run_ffmpeg([*PICTURE, *tones, *maps, "-c:v", "mpeg2video", "-c:a", "pcm_s16le", "-ac", "1", str(path)])

    source = inspected(tmp_path, path)

    assert [track.streams for track in source.audio] == [(1, 2), (3, 4)]
    assert [(track.channels, track.channel_layout) for track in source.audio] == [(2, "stereo")] * 2
    assert any("the mono audio tracks 1+2, 3+4 are published as stereo" in each.message for each in source.warnings)
    as_asked = inspected(tmp_path, path, audio_layouts=("mono", "mono"))
    assert [track.streams for track in as_asked.audio] == [(1,), (2,)]
    assert rejected(tmp_path, path, audio_layouts=("5.1",)).reason == Reason.NOT_AS_REQUESTED


def test_chapters_are_read_and_made_safe(tmp_path: Path) -> None:
    said, path = tmp_path / "chapters.txt", tmp_path / "chapters.mkv"
    said.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One <b>\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=99000\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=98000\nEND=99000\ntitle=x\n",
        encoding="utf-8",
    )
    run_ffmpeg([*PICTURE, "-i", str(said), "-map_chapters", "1", *H264, str(path)])

    chapters = inspected(tmp_path, path).chapters

    assert [(each.start_s, each.end_s, each.title) for each in chapters] == [(0.0, 0.4, "One <b>"), (0.4, 1.0, "2")]


def test_a_picture_that_is_served_is_taken_beside_one_that_is_not(tmp_path: Path) -> None:
    path = tmp_path / "beside.mkv"
    run_ffmpeg([*PICTURE, "-map", "0", "-map", "0", "-c:v:0", "ffv1", "-c:v:1", "libx264", str(path)])

    source = inspected(tmp_path, path)

    assert (source.video.codec, source.video.index) == ("h264", 1)
    assert "more_video" in codes(source)


@pytest.mark.parametrize(
    ("keep", "reason"),
    [(0, Reason.TRUNCATED), (None, Reason.NO_VIDEO)],
    ids=["a header alone has not arrived yet", "sound beside a picture stream without pictures"],
)
def test_where_nothing_of_the_picture_is_there_it_is_said_what_is(
    tmp_path: Path, keep: int | None, reason: Reason
) -> None:
    path = tmp_path / "nothing.mkv"
    if keep is None:
        run_ffmpeg([*PICTURE, *tone(440), *H264, "-vf", "select=0", *AAC, str(path)])
    else:
        path = tmp_path / "nothing.mp4"
        run_ffmpeg([*PICTURE, *tone(440), *H264, *AAC, "-movflags", "frag_keyframe+empty_moov", str(path)])
        path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"moof") - 4])

    assert rejected(tmp_path, path).reason == reason


def test_hostile_boxes_are_looked_at_for_a_bounded_time(tmp_path: Path) -> None:
    """A table of sample descriptions that counts for ever, boxes without end, boxes of no size."""
    from include.adapters.encryption import encryption
    from include.adapters.ffmpeg.ffprobe import Probe

    found = Probe(container={"format_name": "mov,mp4"}, streams=(), stderr="")
    asked: list[int] = []
    for data in (
        struct.pack(">I4s", 8, b"free") * 100_000,
        struct.pack(">I4s", 0, b"moov"),
        struct.pack(">I4sQ", 1, b"moov", 1 << 63) + struct.pack(">I4s", 8, b"trak") * 100_000,
        struct.pack(">I4s", 1 << 20, b"moov")
        + struct.pack(">I4sQ", 1 << 19, b"stsd", 9)
        + struct.pack(">I4s", 8, b"x") * 9,
    ):

        def read(offset: int, length: int, data: bytes = data) -> bytes:
            asked.append(length)
            return data[offset : offset + length]

        assert encryption(found, read) is None
    assert len(asked) < 100
