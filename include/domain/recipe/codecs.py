"""The one table of codecs: how each is delivered, which encoders make it, and what those encoders can do.

A new codec is a record here, an option builder in ``adapters/ffmpeg/encoders`` for each of its encoders, and a ladder
in ``recipes/ladders.yaml``. No other file names a codec or an encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Container = Literal["mp4", "webm"]
"""What an encoder's output lies in: name of ffmpeg's muxer and suffix of the file."""


@dataclass(frozen=True, kw_only=True)
class SizeLimits:
    """Picture sizes that an encoder takes, in pixels."""

    least_width: int
    least_height: int
    longest_side: int

    def hold(self, width: int, height: int) -> bool:
        """Whether a picture of this size lies within them."""
        return width >= self.least_width and height >= self.least_height and max(width, height) <= self.longest_side


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """One of ffmpeg's encoders."""

    name: str
    """As ffmpeg calls it."""
    presets: tuple[str, ...]
    """The speeds that it knows, slowest first."""
    tune: str | None = None
    """Its own tuning; None leaves it to the ladder."""
    limits: SizeLimits | None = None
    """None takes every size that Callsheet makes."""

    def takes(self, width: int, height: int) -> bool:
        """Whether it can encode pictures of this size."""
        return self.limits is None or self.limits.hold(width, height)


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How a codec is made, packaged and offered to players."""

    name: str
    """As ffmpeg and the ladders call it."""
    software: Encoder
    hardware: Encoder | None = None
    """NVENC's; None where Callsheet uses none for this codec."""
    container: Container
    """Of the encoders' outputs; the packager reads MP4."""
    sample_entry: str
    """Four characters: the codec's name in an MP4 file, and the first part of its name in manifests (RFC 6381)."""
    profiles: Mapping[int, str | None]
    """The encoder's profile by bit depth; None leaves it to the encoder. A depth that is missing is not made."""
    hls: bool
    """Whether it stands in the HLS manifest."""
    dash: bool
    """Whether it stands in the DASH manifest."""
    progressive: bool
    """Whether it is offered as an ordinary MP4 that plays while it loads."""
    least_pixels_per_s: float
    """The slowest speed of its software encoder that is still work and not a hang: a fifth of one busy core's."""

    @property
    def bit_depths(self) -> tuple[int, ...]:
        """That it is made in, lowest first."""
        return tuple(sorted(self.profiles))


X264 = Encoder(
    name="libx264",
    presets=(
        "placebo",
        "veryslow",
        "slower",
        "slow",
        "medium",
        "fast",
        "faster",
        "veryfast",
        "superfast",
        "ultrafast",
    ),
)
VPX_VP9 = Encoder(name="libvpx-vp9", presets=("0", "1", "2", "3", "4", "5"))
"""Its presets are values of ``cpu-used``; with ``deadline good`` it knows none beyond 5."""
NVENC_H264 = Encoder(
    name="h264_nvenc",
    presets=("p7", "p6", "p5", "p4", "p3", "p2", "p1"),
    tune="hq",
    # Below the least size NVENC refuses H.264; such a rung is not worth the wait for a GPU either.
    limits=SizeLimits(least_width=146, least_height=50, longest_side=4096),
)

H264 = Codec(
    name="h264",
    software=X264,
    hardware=NVENC_H264,
    container="mp4",
    sample_entry="avc1",
    profiles={8: "high"},
    hls=True,
    dash=True,
    progressive=True,
    least_pixels_per_s=4e6,
)
VP9 = Codec(
    name="vp9",
    software=VPX_VP9,
    container="webm",
    sample_entry="vp09",
    profiles={8: None},
    # HLS players are only promised H.264; VP9 goes to those that read DASH.
    hls=False,
    dash=True,
    progressive=False,
    least_pixels_per_s=1e6,
)

CODECS: Mapping[str, Codec] = {codec.name: codec for codec in (H264, VP9)}
"""By name."""

SOFTWARE_ENCODERS: Mapping[str, Encoder] = {codec.software.name: codec.software for codec in CODECS.values()}
"""By ffmpeg's name, in the order of the codecs."""

AUDIO_RATE_HZ = 48_000
"""Of every sound track that is published."""

UNIVERSAL = H264
"""What every player plays: a title's first codec wherever its pipeline says nothing else."""

SOURCE_CODECS = frozenset(
    {
        *("h264", "hevc", "mpeg2video", "mpeg4", "prores", "dnxhd", "vp8", "vp9", "av1", "qtrle", "png"),
        # Of discs, tapes and old cameras.
        *("mpeg1video", "dvvideo", "mjpeg", "h263", "msmpeg4v2", "msmpeg4v3", "cinepak", "svq1"),
        # Of editors and capture cards: without a loss, or without any coding.
        *("rawvideo", "v210", "r210", "huffyuv", "utvideo"),
    }
)
"""Codecs of a mezzanine's picture that are accepted, as ffprobe calls them. None of their decoders opens files."""

RESIZED = frozenset({"vp8", "vp9"})
"""Codecs of calls and browsers' recorders, which send smaller pictures over a bad line. They have few keyframes."""

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""WebM keeps transparency in a second stream beside the picture's; ffmpeg's own decoders pass over it."""

USER_DATA: dict[str, tuple[str, str]] = {
    "h264": ("h264_mp4toannexb,filter_units=pass_types=6", "h264"),
    "hevc": ("hevc_mp4toannexb,filter_units=pass_types=39", "hevc"),
    "mpeg2video": ("filter_units=pass_types=178", "mpeg2video"),
}
"""For each codec that carries captions: the bitstream filters that leave nothing else, and the raw muxer."""
