"""Every container × every distance between the starts of picture and sound: what the tests of the matrix share.

A source tells by how it was made where picture and sound belong together (:mod:`tests.synced`). It is published in its
lowest rung, and the published set is read by :mod:`tests.reader`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.manifest_reader import drift_s
from tests.reader import beeps, flashes, read_dash, read_hls
from tests.synced import make_synced
from tests.titles import publish_quickly

AT = (2.4, 2.8)
SECONDS = 3.2
RATE = 25
BEFORE_ZERO_S = 0.52

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=1", "-g", "25")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "400k")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "400k")
PCM = ("-c:a", "pcm_s16le")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A container with the codecs in it."""

    suffix: str
    video: tuple[str, ...]
    audio: tuple[str, ...]
    extra: tuple[str, ...] = ()
    negative: tuple[str, ...] = ("-output_ts_offset", f"-{BEFORE_ZERO_S}", "-avoid_negative_ts", "disabled")
    """What makes its clock begin before zero."""
    shows_from_zero: bool = False
    """Whether what lies before zero is not shown, as edit lists have it."""


FRAGMENTS = ("-movflags", "+frag_keyframe+empty_moov+delay_moov")
WRAPS = ("-output_ts_offset", "95441.5")
"""A transport stream's clock has 33 bits and begins anew after 95,443.7 s; its muxer adds 1.4 s."""

FORMS = {
    "mp4": Form(suffix="mp4", video=X264, audio=("-c:a", "aac"), shows_from_zero=True),
    "fragmented mp4": Form(suffix="mp4", video=X264, audio=("-c:a", "aac"), extra=FRAGMENTS),
    "mov": Form(suffix="mov", video=("-c:v", "prores_ks", "-profile:v", "0"), audio=PCM, shows_from_zero=True),
    "mkv": Form(suffix="mkv", video=X264, audio=("-c:a", "aac")),
    "webm": Form(suffix="webm", video=VP8, audio=("-c:a", "libopus")),
    "ts": Form(suffix="ts", video=X264, audio=("-c:a", "aac"), negative=WRAPS),
    "m2ts": Form(suffix="m2ts", video=X264, audio=("-c:a", "ac3"), negative=WRAPS),
    "mxf": Form(suffix="mxf", video=("-c:v", "mpeg2video", "-q:v", "3"), audio=PCM),
    "avi": Form(suffix="avi", video=("-c:v", "mpeg4", "-q:v", "3"), audio=PCM),
}
OTHER_CODECS = {
    "mp4, HEVC and AC-3": Form(suffix="mp4", video=(*X265, "-tag:v", "hvc1"), audio=("-c:a", "ac3")),
    "mov, H.264 and AAC": Form(suffix="mov", video=X264, audio=("-c:a", "aac")),
    "mkv, HEVC and FLAC": Form(suffix="mkv", video=X265, audio=("-c:a", "flac")),
    "mkv, MPEG-4 and MP3": Form(suffix="mkv", video=("-c:v", "mpeg4", "-q:v", "3"), audio=("-c:a", "libmp3lame")),
    "webm, VP9 and Vorbis": Form(suffix="webm", video=VP9, audio=("-c:a", "libvorbis")),
    "ts, MPEG-2 and MP2": Form(suffix="ts", video=("-c:v", "mpeg2video", "-q:v", "3"), audio=("-c:a", "mp2")),
    "ts, HEVC and AC-3": Form(suffix="ts", video=X265, audio=("-c:a", "ac3")),
}
STARTS = {
    "together": (0.0, 0.0),
    "sound 0.04 s late": (0.0, 0.04),
    "sound 0.5 s late": (0.0, 0.5),
    "sound 2 s late": (0.0, 2.0),
    "picture 0.04 s late": (0.04, 0.0),
    "picture 0.4 s late": (0.4, 0.0),
    "both late": (0.4, 0.72),
    "before zero": (0.0, 0.0),
}
"""Where picture and sound begin, in seconds."""
FEW = ("sound 0.5 s late", "picture 0.4 s late", "both late")

MXF = "an MXF file plays all tracks from their first unit on, and ffmpeg's muxer writes no other origin"
AVI = "AVI counts from zero; its muxer writes missing pictures as empty ones, missing sound not at all"
CANNOT = {
    **{("mxf", start): MXF for start in STARTS if start != "together"},
    **{("avi", start): AVI for start in STARTS if start.startswith(("sound", "both", "before"))},
}
"""What a container cannot express, and why: such a file tells another story than the one it was made of."""

CASES = [
    *((form, start) for form in FORMS for start in STARTS if (form, start) not in CANNOT),
    *((form, start) for form in OTHER_CODECS for start in FEW),
]


def assert_published_in_sync(folder: Path, name: str, start: str) -> None:
    """Make the source, publish it and measure what came out.

    Args:
        folder: To work in.
        name: Of a form.
        start: Of a pair of starts.
    """
    form = {**FORMS, **OTHER_CODECS}[name]
    picture_from, sound_from = STARTS[start]
    negative = start == "before zero"
    clip = make_synced(
        folder / f"source.{form.suffix}",
        at=AT,
        seconds=SECONDS,
        picture_from=picture_from,
        sound_from=sound_from,
        video=form.video,
        audio=form.audio,
        extra=(*form.extra, *(form.negative if negative else ())),
    )
    zero = BEFORE_ZERO_S if negative and form.shows_from_zero else min(picture_from, sound_from)
    made = publish_quickly(folder / "title", clip)

    published = read_hls(made.folder)
    pictures, sound = published.pictures(), published.sound()
    seen, heard = flashes(pictures), beeps(sound)
    told = f"flashes at {seen}, beeps at {heard}, made at {[round(at - zero, 3) for at in AT]}"
    assert len(seen) == len(heard) == len(AT), told
    for flash, beep, at in zip(seen, heard, AT, strict=True):
        assert abs(flash - beep) <= 0.020, told
        # The title may begin with the encoder's delay of the sound, where a container does not tell it.
        assert abs(beep - (at - zero)) <= 0.050, told
    assert abs(pictures.frames - (SECONDS - zero) * RATE) <= 1, f"{pictures.frames} frames"
    assert sound.start_s == 0
    assert sound.gaps == ()
    assert abs(sound.samples - pictures.end_s * sound.rate_hz) <= 1024, f"{sound.samples} samples, {pictures.end_s} s"
    for track in (*published.tracks, *read_dash(made.folder).tracks):
        assert drift_s(track) < 0.022, f"{track.name}: the manifest is {drift_s(track):.3f} s off"
