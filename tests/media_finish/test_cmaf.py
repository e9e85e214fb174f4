"""What is read from boxes, and what manifests and checks make of it: on tracks of a few bytes, without a packager."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import pytest

from include.adapters.cmaf import Segment, Track, UnreadableTrack, peak_bps, read_track
from include.adapters.manifests.contents import Contents, TextEntry, VideoEntry
from include.adapters.manifests.dash import correct_dash
from include.adapters.manifests.faults import faults
from include.adapters.manifests.hls import variant_bandwidth, write_master

SYNC, OTHER = 0x0200_0000, 0x0101_0000
"""Flags of a sample: one that depends on no other, and one that is no sync sample."""


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def descriptor(tag: int, body: bytes) -> bytes:
    return bytes([tag, len(body)]) + body


def init(
    *, channels: int = 2, duration: int = 1024, flags: int = SYNC, config: bytes = b"", padding: bytes = b""
) -> bytes:
    """The head of a track of AAC-LC at 48 kHz.

    Args:
        channels: As the codec counts them.
        duration: Of each sample.
        flags: Of each sample.
        config: The codec's own configuration, in place of one with these channels.
        padding: Bytes before the length of the outermost descriptor.
    """
    config = config or (2 << 11 | 3 << 7 | channels << 3).to_bytes(2, "big")
    decoder = descriptor(0x04, b"\x40" + bytes(12) + descriptor(0x05, config))
    esds = box(b"esds", words(0), b"\x03", padding, bytes([3 + len(decoder)]), bytes(3), decoder)
    stsd = box(b"stsd", words(0, 1), box(b"mp4a", bytes(28), esds))
    mdia = box(b"mdia", box(b"mdhd", words(0, 0, 0, 48_000)), box(b"minf", box(b"stbl", stsd)))
    return box(b"moov", box(b"trak", mdia), box(b"mvex", box(b"trex", words(0, 1, 1, duration, 0, flags))))


def segment(*, header: bytes = words(0, 1), run: bytes = words(0, 2)) -> bytes:
    """A media segment; by default of two samples as long as the track's head says."""
    return box(b"moof", box(b"traf", box(b"tfhd", header), box(b"tfdt", words(0, 0)), box(b"trun", run)))


def picture_init(entry: bytes, *details: bytes, edits: bytes = b"", long: bool = False) -> bytes:
    """The head of a video track of 640×360 at 1,000 ticks a second; ``long``: its times have 64 bits."""
    visual = box(entry, bytes(24), struct.pack(">HH", 640, 360), bytes(50), *details)
    mdhd = words(1 << 24, 0, 7, 0, 8, 1000, 0, 9) if long else words(0, 7, 8, 1000, 9)
    mdia = box(b"mdia", box(b"mdhd", mdhd), box(b"minf", box(b"stbl", box(b"stsd", words(0, 1), visual))))
    trak = box(b"trak", *([box(b"edts", box(b"elst", edits))] if edits else []), mdia)
    return box(b"moov", trak, box(b"mvex", box(b"trex", words(0, 1, 1, 40, 0, SYNC))))


AVC = box(b"avcC", bytes([1, 0x64, 0, 0x1F, 0xFF, 0xE1, 0, 8, 0x67, 0x4D, 0x40, 0x28, 1, 2, 3, 4]))
"""Its sequence parameter set says another profile than its own head."""
VPC = box(b"vpcC", words(1 << 24), bytes([2, 31, 0xA3, 9, 16, 8, 0, 0]))


def track_of(folder: Path, head: bytes, *segments: bytes, kind: str = "audio") -> Track:
    place = folder / kind / "a"
    place.mkdir(parents=True)
    (place / "init.mp4").write_bytes(head)
    for number, data in enumerate(segments):
        (place / f"{number:05d}.m4s").write_bytes(data)
    return read_track(folder, kind, "a")


@pytest.mark.parametrize(
    ("entry", "details", "codec"),
    [(b"avc1", AVC, "avc1.4d4028"), (b"vp09", VPC, "vp09.02.31.10.01.09.16.08.01")],
)
def test_a_picture_is_described_by_what_its_codec_itself_says(
    entry: bytes, details: bytes, codec: str, tmp_path: Path
) -> None:
    head = picture_init(entry, details)
    track = track_of(tmp_path, head, segment(), segment(), kind="video")

    assert (track.codec, track.width, track.height) == (codec, 640, 360)
    assert (track.duration, track.frame_rate, track.init_bytes) == (Fraction(160, 1000), 25, len(head))
    assert track.size_bytes == len(head) + 2 * len(segment())


@pytest.mark.parametrize("long", [False, True], ids=["times of 32 bits", "times of 64 bits"])
@pytest.mark.parametrize(
    ("edits", "skipped"),
    [
        (b"", 0),
        (words(0, 1, 500, 80, 1 << 16), 80),
        (words(0, 1, 500, 0xFFFF_FFFF, 1 << 16), 0),
        (words(1 << 24, 1, 0, 500, 0, 80, 1 << 16), 80),
        (words(1 << 24, 1, 0, 500, 0xFFFF_FFFF, 0xFFFF_FFFF, 1 << 16), 0),
    ],
    ids=["no edits", "32 bits", "32 bits, nothing before", "64 bits", "64 bits, nothing before"],
)
def test_what_lies_before_a_tracks_edit_is_skipped(edits: bytes, skipped: int, long: bool, tmp_path: Path) -> None:
    track = track_of(tmp_path, picture_init(b"avc1", AVC, edits=edits, long=long), segment(), kind="video")

    assert track.skipped == Fraction(skipped, 1000)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (picture_init(b"avc1", AVC, edits=words(0, 2, 500, 80, 1 << 16, 500, 0, 1 << 16)), "several edits"),
        (picture_init(b"avc1", box(b"avcC", bytes([1, 0x64, 0, 0x1F, 0xFF, 0xE0, 0]))), "no sequence parameter set"),
        (picture_init(b"avc1"), "has no box avcC"),
        (picture_init(b"hvc1"), "b'hvc1' that is not known here"),
    ],
)
def test_a_head_that_says_too_little_cannot_be_read(head: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableTrack, match=f"video/a: .*{said}"):
        track_of(tmp_path, head, segment(), kind="video")


def test_a_segment_of_several_fragments_starts_as_the_first_and_lasts_as_long_as_all(tmp_path: Path) -> None:
    def fragment(start: bytes, flags: int) -> bytes:
        header, run = box(b"tfhd", words(0x20, 1, flags)), box(b"trun", words(0, 2))
        return box(b"moof", box(b"traf", header, box(b"tfdt", start), run)) + box(b"mdat", bytes(9))

    first, second = fragment(words(1 << 24, 1, 5), OTHER), fragment(words(0, 9), SYNC)
    (found,) = track_of(tmp_path, picture_init(b"avc1", AVC), first + second, kind="video").segments

    assert (found.start, found.duration) == (Fraction(2**32 + 5, 1000), Fraction(160, 1000))
    assert (found.samples, found.sync, found.size_bytes) == (4, False, len(first + second))


def test_channels_stand_behind_a_frequency_that_is_spelled_out_and_lengths_of_several_bytes(tmp_path: Path) -> None:
    config = (2 << 35 | 15 << 31 | 96_000 << 7 | 6 << 3).to_bytes(5, "big")

    track = track_of(tmp_path, init(config=config, padding=b"\x80\x80"), segment())

    assert (track.codec, track.channels) == ("mp4a.40.2", 6)


@pytest.mark.parametrize(("said", "channels"), [(1, 1), (2, 2), (6, 6), (7, 8)])
def test_the_channels_are_those_of_the_codecs_own_configuration(said: int, channels: int, tmp_path: Path) -> None:
    track = track_of(tmp_path, init(channels=said), segment())

    assert (track.codec, track.channels, track.width, track.height) == ("mp4a.40.2", channels, 0, 0)


@pytest.mark.parametrize(
    ("default", "header", "run", "sync"),
    [
        (SYNC, words(0, 1), words(0, 2), True),
        (OTHER, words(0, 1), words(0, 2), False),
        (SYNC, words(0x20, 1, OTHER), words(0, 2), False),
        (OTHER, words(0x20, 1, SYNC), words(0, 2), True),
        (OTHER, words(0, 1), words(0x4, 2, SYNC), True),
        (SYNC, words(0, 1), words(0x4, 2, OTHER), False),
        (OTHER, words(0, 1), words(0x5, 2, 0, SYNC), True),
        (OTHER, words(0, 1), words(0x600, 2, 10, SYNC, 10, OTHER), True),
        (SYNC, words(0, 1), words(0x600, 2, 10, OTHER, 10, SYNC), False),
        (SYNC, words(0, 1), words(0x700, 1, 1024, 10, OTHER), False),
    ],
)
def test_a_segment_begins_with_a_sync_sample_where_the_flags_nearest_to_its_first_sample_say_so(
    default: int, header: bytes, run: bytes, sync: bool, tmp_path: Path
) -> None:
    (found,) = track_of(tmp_path, init(flags=default), segment(header=header, run=run)).segments

    assert found.sync is sync


@pytest.mark.parametrize(
    ("header", "run", "ticks"),
    [
        (words(0, 1), words(0, 2), 2048),
        (words(0x8, 1, 500), words(0, 2), 1000),
        (words(0x9, 1, 7, 8, 500), words(0, 2), 1000),
        (words(0xB, 1, 7, 8, 9, 500), words(0, 2), 1000),
        (words(0x3A, 1, 9, 500, 10, SYNC), words(0, 2), 1000),
        (words(0, 1), words(0x100, 2, 300, 400), 700),
        (words(0, 1), words(0x101, 2, 0, 300, 400), 700),
        (words(0, 1), words(0xF05, 2, 0, SYNC, 300, 1, 2, 3, 400, 4, 5, 6), 700),
    ],
)
def test_samples_last_as_long_as_run_header_or_head_say_whatever_else_stands_before(
    header: bytes, run: bytes, ticks: int, tmp_path: Path
) -> None:
    (found,) = track_of(tmp_path, init(), segment(header=header, run=run)).segments

    assert (found.samples, found.duration) == (2, Fraction(ticks, 48_000))


@pytest.mark.parametrize("bad", [segment()[:-1], segment() + b"\0", words(4) + b"moof", b""])
def test_a_segment_that_is_cut_or_empty_cannot_be_read(bad: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableTrack, match="audio/a"):
        track_of(tmp_path, init(), bad)


def a_track(name: str, *, seconds: int = 100, sync: bool = True) -> Track:
    parts = tuple(
        Segment(name=f"{n}.m4s", size_bytes=1000, start=Fraction(2 * n), duration=Fraction(2), samples=50, sync=sync)
        for n in range(seconds // 2)
    )
    return Track(name=name, kind="video", codec="avc1.64001f", width=64, height=36, segments=parts, init_bytes=500)


def a_set(*tracks: Track, forced: bool = False) -> Contents:
    text = TextEntry(name="text_de", language="de", label="Deutsch", forced=forced, peak_bps=70_000, size_bytes=1)
    # Without an HLS rung the master playlist needs no files of the packager.
    videos = tuple(VideoEntry(track=track, hls=False) for track in tracks)
    return Contents(videos=videos, audios=(), texts=(text,), target_s=2)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (a_track("b"), []),
        (a_track("b", sync=False), ["video/b: a segment does not start with a sync sample"]),
        (a_track("b", seconds=50), ["video/b: lasts 50.000 s, video/a 100.000 s"]),
        (a_track("b", seconds=150), ["video/b: lasts 150.000 s, video/a 100.000 s"]),
    ],
)
def test_tracks_begin_each_segment_anew_and_end_together(second: Track, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "hls.m3u8").write_text("#EXTM3U\n#EXT-X-VERSION:7\n")
    contents = a_set(a_track("a"), second)

    found = [
        each for each in faults(tmp_path, contents) if each.startswith("video/") and "do not start where" not in each
    ]

    assert found == said


def test_a_stretch_of_half_the_target_counts_for_the_peak() -> None:
    assert peak_bps([(1000, Fraction(1)), (100, Fraction(3))], 2) == 8000


def test_a_stretch_counts_for_the_peak_from_half_to_one_and_a_half_target_durations() -> None:
    """Of a dear start that is too short by itself: with the cheap segment behind it, it counts up to three seconds."""

    def peak(start_s: str, next_s: str) -> float:
        cheap = (100, Fraction(next_s))
        return peak_bps([(1000, Fraction(start_s)), cheap, cheap, cheap], 2)

    assert peak("0.9", "2.1") == 2934  # 8,800 bits in 3.0 s
    assert peak("0.9", "1.2") == 4191  # 8,800 bits in 2.1 s
    assert peak("0.9", "2.2") == 1387  # 3.1 s: no stretch that counts is dearer than the whole
    assert peak("1.2", "2.0") == 6667  # 8,000 bits in 1.2 s


def test_a_variants_bandwidth_counts_the_dearest_text(tmp_path: Path) -> None:
    video = a_track("a")

    assert variant_bandwidth(a_set(video), video, ()) == (4000 + 70_000, video.average_bps + 70_000)


@pytest.mark.parametrize("forced", [True, False])
def test_forced_subtitles_and_no_others_are_forced_in_both_manifests(forced: bool, tmp_path: Path) -> None:
    contents = a_set(forced=forced)
    (tmp_path / "dash.mpd").write_text('<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period></Period></MPD>')

    write_master(tmp_path, contents)
    correct_dash(tmp_path, contents)

    assert ("FORCED=YES" in (tmp_path / "hls.m3u8").read_text()) is forced
    roles = ElementTree.parse(tmp_path / "dash.mpd").iter("{urn:mpeg:dash:schema:mpd:2011}Role")
    assert [role.get("value") for role in roles] == ["forced-subtitle" if forced else "subtitle"]
