"""Malformed mezzanines: a few sound clips, and what truncating, flipping, splicing and lying make of them.

The same files each time: clips are encoded bit-exactly, and every choice is drawn from a seed that the file's name is.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.clips import run_ffmpeg

SIZE, RATE = "96x64", 25
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10", "-threads", "1")
_MP4_SOUND = ("-c:a", "aac", "-b:a", "32k")
_CLIPS: dict[str, tuple[str, ...]] = {
    "mp4": (*_X264, *_MP4_SOUND),
    "mov": (*_X264, "-bf", "2", "-movflags", "+faststart", "-c:a", "pcm_s16le"),
    "mkv": (*_X264, "-c:a", "libopus"),
    "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-threads", "1", "-c:a", "libopus"),
    "avi": ("-c:v", "mpeg4", "-bf", "0", "-g", "10", "-c:a", "mp2"),
    "ts": ("-c:v", "mpeg2video", "-g", "10", "-c:a", "mp2"),
    "mxf": ("-c:v", "mpeg2video", "-g", "10", "-c:a", "pcm_s16le"),
    "mpg": ("-c:v", "mpeg2video", "-g", "10", "-c:a", "mp2"),
}
_OLD: dict[str, tuple[str, ...]] = {
    "mjpeg.avi": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_u8"),
    "raw.mov": ("-c:v", "rawvideo", "-pix_fmt", "uyvy422", "-c:a", "pcm_s16le"),
    "v210.mov": ("-c:v", "v210", "-c:a", "pcm_s24le"),
    "cinepak.avi": ("-c:v", "cinepak", "-c:a", "pcm_s16le"),
    "svq1.mov": ("-c:v", "svq1", "-c:a", "pcm_s16be"),
    "huffyuv.avi": ("-c:v", "huffyuv", "-c:a", "pcm_s16le"),
    "utvideo.avi": ("-c:v", "utvideo", "-c:a", "pcm_s16le"),
    "msmpeg4.avi": ("-c:v", "msmpeg4v2", "-c:a", "mp2"),
    "h263.mov": ("-s", "128x96", "-c:v", "h263", "-c:a", "pcm_s16be"),
}
"""Of old cameras, discs and editors: fewer damages each, as their containers have all of them."""
_BITEXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1")
_PICTURE = ("-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate={RATE}", "-f", "lavfi", "-i", "sine=sample_rate=48000")
_MAX32, _MAX64 = b"\xff" * 4, b"\x7f" + b"\xff" * 7


def sound_clips(folder: Path) -> dict[str, bytes]:
    """One second of picture and sound in each container."""
    clips = {}
    for suffix, options in _CLIPS.items():
        path = folder / f"sound.{suffix}"
        run_ffmpeg([*_PICTURE, "-t", "1", *options, *_BITEXACT, str(path)])
        clips[suffix] = path.read_bytes()
    return clips


def corpus(folder: Path) -> dict[str, bytes]:
    """Malformed files by name, some of them worse than others; those that are made by ffmpeg pass by ``folder``."""
    clips = sound_clips(folder)
    suffixes = list(clips)
    found: dict[str, bytes] = {}
    for number, (suffix, data) in enumerate(clips.items()):
        other = clips[suffixes[(number + 1) % len(suffixes)]]
        for what, bad in _damaged(suffix, data, other):
            found[f"{what}.{suffix}"] = bad
    found |= {f"{what}.mp4": bad for what, bad in _lying_boxes(clips["mp4"])}
    for suffix in ("mkv", "webm"):
        found |= {f"{what}.{suffix}": bad for what, bad in _lying_elements(clips[suffix])}
    found |= {f"{what}.avi": bad for what, bad in _lying_chunks(clips["avi"])}
    found |= {f"{what}.ts": bad for what, bad in _lying_packets(clips["ts"])}
    found |= {f"{what}.mxf": bad for what, bad in _lying_klv(clips["mxf"])}
    found |= {f"{what}.mpg": bad for what, bad in _lying_packs(clips["mpg"])}
    found |= _damaged_old(folder)
    return found | _strange(folder)


def _damaged(suffix: str, data: bytes, other: bytes) -> Iterator[tuple[str, bytes]]:
    size = len(data)
    for percent in (3, 20, 40, 60, 80, 95):
        yield f"cut_{percent}", data[: size * percent // 100]
    yield "cut_to_1", data[:1]
    yield "cut_to_16", data[:16]
    yield "cut_last_byte", data[:-1]
    for part, (start, end) in {
        "head": (0, 400),
        "middle": (size // 3, size * 2 // 3),
        "tail": (size - 2000, size),
    }.items():
        for seed in range(2):
            draw = random.Random(f"{suffix} {part} {seed}")
            bad = bytearray(data)
            for _ in range(1 + 4 * seed):
                bad[draw.randrange(max(0, start), end)] ^= 1 << draw.randrange(8)
            yield f"flip_{part}_{seed}", bytes(bad)
    for at in (20, 70):
        start = size * at // 100
        yield f"zeros_{at}", data[:start] + bytes(1500) + data[start + 1500 :]
    noise = random.Random(f"{suffix} noise").randbytes(size)
    yield "noise_behind_the_head", data[:64] + noise[64:]
    yield "noise_in_the_middle", data[: size // 2] + noise[:3000] + data[size // 2 + 3000 :]
    yield "half_of_another", data[: size // 2] + other[len(other) // 2 :]
    yield "twice", data + data
    yield "tail_first", data[size // 2 :] + data[: size // 2]


def _put(data: bytes, name: bytes, offset: int, value: bytes, *, nth: int = 0) -> bytes:
    """``data`` with ``value`` written ``offset`` bytes behind the ``nth`` appearance of ``name``."""
    at = -1
    for _ in range(nth + 1):
        at = data.index(name, at + 1)
    at += len(name) + offset
    return data[:at] + value + data[at + len(value) :]


def _lying_boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """ISO boxes; offsets count from behind the name: version and flags first."""
    short = struct.Struct(">H").pack
    for value, word in ((bytes(4), "zero"), (_MAX32, "most"), (b"\0\0\0\1", "one")):
        yield f"mvhd_timescale_{word}", _put(data, b"mvhd", 12, value)
        yield f"mvhd_duration_{word}", _put(data, b"mvhd", 16, value)
        yield f"mdhd_timescale_{word}", _put(data, b"mdhd", 12, value)
        yield f"mdhd_duration_{word}", _put(data, b"mdhd", 16, value)
        yield f"stsz_count_{word}", _put(data, b"stsz", 8, value)
        yield f"stsz_size_{word}", _put(data, b"stsz", 4, value)
        yield f"stts_delta_{word}", _put(data, b"stts", 12, value)
        yield f"stts_frames_{word}", _put(data, b"stts", 8, value)
        yield f"stco_{word}", _put(data, b"stco", 8, value)
        yield f"stsc_{word}", _put(data, b"stsc", 12, value)
    for width, height in ((1, 1), (0, 0), (65535, 65535), (16384, 2), (97, 63)):
        yield f"size_{width}x{height}", _put(data, b"avc1", 24, short(width) + short(height))
    for name in (b"moov", b"mdat", b"trak", b"stbl", b"avcC"):
        at = data.index(name) - 4
        for value, word in ((bytes(4), "zero"), (b"\0\0\0\1", "long"), (_MAX32, "most"), (b"\0\0\0\7", "tiny")):
            yield f"{name.decode()}_size_{word}", data[:at] + value + data[at + 4 :]
    yield "elst_duration_most", _put(data, b"elst", 8, _MAX32)
    yield "elst_start_most", _put(data, b"elst", 12, _MAX32)
    yield "elst_start_far", _put(data, b"elst", 12, b"\x7f\xff\xff\xff")
    yield "not_video", _put(data, b"vide", -4, b"soun")
    yield "codec_unknown", _put(data, b"avc1", -4, b"zzzz")
    yield "nested", _with_moov_child(data, _nested(3000))
    yield "many_tracks", _with_moov_child(data, _box_at(data, b"trak") * 150)


def _box_at(data: bytes, name: bytes) -> bytes:
    start = data.index(name) - 4
    return data[start : start + struct.unpack(">I", data[start : start + 4])[0]]


def _nested(depth: int) -> bytes:
    return b"".join(struct.pack(">I", 8 * (depth - level)) + b"udta" for level in range(depth))


def _with_moov_child(data: bytes, child: bytes) -> bytes:
    moov = _box_at(data, b"moov")
    grown = struct.pack(">I", len(moov) + len(child)) + moov[4:] + child
    # At the end, so that no chunk offset moves.
    return data.replace(moov, struct.pack(">I", len(moov)) + b"free" + moov[8:], 1) + grown


def _lying_elements(data: bytes) -> Iterator[tuple[str, bytes]]:
    """EBML; names are ids with the size byte behind them."""
    double = struct.Struct(">d").pack
    yield "scale_zero", _put(data, b"\x2a\xd7\xb1\x83", 0, bytes(3))
    yield "scale_most", _put(data, b"\x2a\xd7\xb1\x83", 0, b"\xff" * 3)
    for word, value in (("nan", float("nan")), ("infinite", float("inf")), ("negative", -1e9), ("most", 1e300)):
        yield f"duration_{word}", _put(data, b"\x44\x89\x88", 0, double(value))
    yield "width_zero", _put(data, b"\xb0\x81", 0, b"\0")
    yield "width_most", _put(data, b"\xb0\x81", 0, b"\xff")
    yield "height_one", _put(data, b"\xba\x81", 0, b"\1")
    for name, word in (
        (b"\x18\x53\x80\x67", "segment"),
        (b"\x16\x54\xae\x6b", "tracks"),
        (b"\x1f\x43\xb6\x75", "cluster"),
    ):
        yield f"{word}_size_unknown", _put(data, name, 0, b"\x01" + b"\xff" * 7)
        yield f"{word}_size_most", _put(data, name, 0, b"\x01\x7f" + b"\xff" * 6)
        yield f"{word}_size_zero", _put(data, name, 0, b"\x80")
    yield "cluster_time_far", _put(data, b"\x1f\x43\xb6\x75", 9, b"\x84\x7f\xff\xff\xff")
    yield "head_size_most", _put(data, b"\x1a\x45\xdf\xa3", 0, b"\x01\x7f" + b"\xff" * 6)


def _lying_chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """RIFF, little-endian."""
    for word, value in (("zero", bytes(4)), ("most", _MAX32), ("one", b"\1\0\0\0")):
        yield f"frame_time_{word}", _put(data, b"avih", 4, value)
        yield f"frames_{word}", _put(data, b"avih", 20, value)
        yield f"scale_{word}", _put(data, b"strh", 24, value)
        yield f"rate_{word}", _put(data, b"strh", 28, value)
        yield f"length_{word}", _put(data, b"strh", 36, value)
        yield f"width_{word}", _put(data, b"strf", 8, value)
        yield f"riff_size_{word}", _put(data, b"RIFF", 0, value)
        yield f"movi_size_{word}", _put(data, b"movi", -8, value)
        yield f"index_size_{word}", _put(data, b"idx1", 0, value)


def _lying_packets(data: bytes) -> Iterator[tuple[str, bytes]]:
    """MPEG-TS packets of 188 bytes."""
    packets = [data[at : at + 188] for at in range(0, len(data) - 187, 188)]
    draw = random.Random("packets")
    shuffled = packets.copy()
    draw.shuffle(shuffled)
    yield "packets_shuffled", b"".join(shuffled)
    yield "packets_lost", b"".join(packet for packet in packets if draw.random() > 0.1)
    yield "packets_doubled", b"".join(packet * 2 for packet in packets)
    yield "sync_lost", data[3:]
    yield "pes_length_lies", data.replace(b"\0\0\1\xe0\0\0", b"\0\0\1\xe0\0\x09")
    yield (
        "times_lie",
        b"".join(
            packet[:16] + b"\x3f\xff\xff\xff\xff" + packet[21:] if packet[4:7] == b"\0\0\1" else packet
            for packet in packets
        ),
    )


def _lying_klv(data: bytes) -> Iterator[tuple[str, bytes]]:
    key = b"\x06\x0e\x2b\x34"
    for nth in (0, 1, 5, 20):
        yield f"klv_length_most_{nth}", _put(data, key, 12, b"\x87" + b"\x7f" * 7, nth=nth)
        yield f"klv_length_zero_{nth}", _put(data, key, 12, b"\x83\0\0\0", nth=nth)
    yield "edit_rate_zero", data.replace(b"\0\0\0\x19\0\0\0\1", bytes(8))
    yield "edit_rate_most", data.replace(b"\0\0\0\x19\0\0\0\1", _MAX32 + b"\0\0\0\1")


def _lying_packs(data: bytes) -> Iterator[tuple[str, bytes]]:
    """MPEG program streams: packs of system clocks and packets with lengths."""
    pack, picture = b"\0\0\1\xba", b"\0\0\1\xe0"
    yield "clock_most", data.replace(pack + data[4:10], pack + b"\x7f" + b"\xff" * 5)
    yield "packs_lost", data.replace(pack, b"\0\0\1\xbe")
    for word, value in (("zero", bytes(2)), ("most", b"\xff\xff"), ("short", b"\0\x09")):
        yield f"packet_length_{word}", _put(data, picture, 0, value, nth=1)
    yield "times_lie", _put(data, picture, 5, b"\x3f" + b"\xff" * 4, nth=2)
    yield "no_sound_but_its_map", data.replace(b"\0\0\1\xc0", b"\0\0\1\xbe")
    yield "pictures_of_two", data[: len(data) // 2] + data[: len(data) // 2]


def _damaged_old(folder: Path) -> dict[str, bytes]:
    made = {}
    for name, options in _OLD.items():
        path = folder / name
        run_ffmpeg([*_PICTURE, "-t", "0.6", *options, *_BITEXACT, str(path)])
        data = bytearray(path.read_bytes())
        made[f"cut_{name}"] = bytes(data[: len(data) * 3 // 5])
        draw = random.Random(name)
        for _ in range(12):
            data[draw.randrange(len(data) // 4, len(data) * 3 // 4)] ^= 1 << draw.randrange(8)
        made[f"flip_{name}"] = bytes(data)
    return made


def _strange(folder: Path) -> dict[str, bytes]:
    """Well-formed, and yet."""
    small, large = folder / "small.ts", folder / "large.ts"
    mpeg2 = ("-c:v", "mpeg2video", *_BITEXACT)
    run_ffmpeg([*_PICTURE[:4], "-t", "0.5", *mpeg2, str(small)])
    run_ffmpeg(["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25", "-t", "0.5", *mpeg2, str(large)])
    made = {"size_changes.ts": small.read_bytes() + large.read_bytes()}
    one = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=1000")
    recipes: dict[str, tuple[str, ...]] = {
        "thousand_frames_a_second.mp4": (*one, "-t", "1", *_X264, "-video_track_timescale", "1000"),
        "one_frame.mp4": (*_PICTURE[:4], "-frames:v", "1", *_X264),
        "one_pixel_wide.mkv": (*_PICTURE[:4], "-t", "0.4", "-vf", "crop=2:64", *_X264),
        "before_zero.ts": (*_PICTURE, "-t", "1", *_CLIPS["ts"], "-output_ts_offset", "-30"),
        "very_late.mkv": (*_PICTURE, "-t", "1", *_CLIPS["mkv"], "-output_ts_offset", "400000"),
        "many_sounds.mkv": (*_PICTURE, "-t", "1", "-map", "0:v", *("-map", "1:a") * 99, *_X264, "-c:a", "mp2"),
        "too_many_sounds.mkv": (*_PICTURE, "-t", "1", "-map", "0:v", *("-map", "1:a") * 110, *_X264, "-c:a", "mp2"),
        "no_picture.mp4": (*_PICTURE, "-t", "1", "-map", "1:a", *_MP4_SOUND),
    }
    for name, options in recipes.items():
        run_ffmpeg([*options, *_BITEXACT, str(folder / name)])
        made[name] = (folder / name).read_bytes()
    return made
