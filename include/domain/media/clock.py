"""One clock for a title: where its zero lies on the container's clock, how long it is, how many pictures that makes.

The zero is the earlier of the first picture and the first sound, the end that of the longer of the two. Both are moved
by less than half a picture, so that the source's pictures lie on the title's grid: a picture in the middle between two
of the grid would be taken for the one or the other by the last digit of its time, and be shown twice or never.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from include.domain.media.media import AudioStream, Finding, VideoStream

SAID_S = 0.03
"""From here on silence and held pictures are told: what is shorter is how streams are cut into frames."""
MISSING_S = 0.15
"""From here on pictures that cannot be decoded are told: some containers count what a decoder holds back for them."""
PADDING_SAMPLES = 1536
"""A frame of AC-3, the longest of usual codecs: sound that goes on for less behind the picture may be padding."""
FINEST_FPS = 25
"""Where pictures are slower than this, the grid is a whole part of theirs."""


def origin(picture_s: float, sounds_s: Sequence[float], fps: Fraction) -> float:
    """The title's zero on the container's clock, in seconds.

    Args:
        picture_s: Of the first picture, on the container's clock.
        sounds_s: Of the first sample of each published track, likewise.
        fps: Of the source.
    """
    first = min((picture_s, *sounds_s))
    return picture_s - on_grid(picture_s - first, fps)


def title_length(video: VideoStream, audio: Sequence[AudioStream]) -> float:
    """How long the title is, in seconds from its zero.

    Args:
        video: On the title's clock, with its measured length.
        audio: The published tracks, likewise.
    """
    end = video.end_s
    longer = [sound_end_s(track) - end for track in audio if sound_end_s(track) - end > _padding_s(track)]
    return end + on_grid(max(longer, default=0.0), video.fps)


def sound_end_s(track: AudioStream) -> float:
    """When a track ends, in the title; 0 where nothing says."""
    return 0.0 if track.duration_s is None else track.start_time_s + track.duration_s


def _padding_s(track: AudioStream) -> float:
    """How much of a track's end may be what its codec fills the last frame with."""
    exact = track.codec.startswith("pcm_") or track.codec in {"flac", "alac"}
    return 0.0 if exact else PADDING_SAMPLES / track.sample_rate_hz


def on_grid(seconds: float, fps: Fraction) -> float:
    """The multiple of a picture's time that is next to ``seconds``."""
    grid = fps * max(1, math.ceil(FINEST_FPS / fps))
    return float(round(Fraction(seconds) * grid) / grid)


def title_frames(duration_s: float, frame_rate: Fraction) -> int:
    """How many pictures a rendition of the title has at this constant rate."""
    return max(1, round(Fraction(duration_s).limit_denominator(1_000_000) * frame_rate))


def clock_findings(
    video: VideoStream, audio: Sequence[AudioStream], *, duration_s: float, missing_s: float
) -> list[Finding]:
    """What is held, filled or left out so that picture and sound begin and end together.

    Args:
        video: On the title's clock, with its measured length.
        audio: Likewise.
        duration_s: Of the title.
        missing_s: Length of the pictures before the first that can be decoded.
    """
    end = video.end_s
    undecoded = missing_s if missing_s >= MISSING_S else 0.0
    odd = [
        (undecoded, "starts_mid_gop", f"the first {undecoded:.2f} s of picture cannot be decoded and are left out"),
        (
            video.start_time_s,
            "late_video",
            f"the picture starts {video.start_time_s:.3f} s after the sound: the first one is shown until then",
        ),
        (duration_s - end, "short_video", f"the picture ends at {end:.2f} s: the last is held to {duration_s:.2f} s"),
    ]
    for number, track in enumerate(audio, start=1):
        late, length = track.start_time_s, track.duration_s
        missing = 0.0 if length is None else duration_s - late - length
        odd += [
            (late, "late_audio", f"audio track {number} starts at {late:.3f} s: silence stands before it"),
            (missing, "short_audio", f"audio track {number} ends {missing:.2f} s before the title: silence follows"),
        ]
    return [Finding(code=code, message=message) for seconds, code, message in odd if seconds >= SAID_S]
