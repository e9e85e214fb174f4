"""What a mezzanine is, as measured: the result document of the stage ``inspect``."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Literal

from include.base.document import Document
from include.domain.media.frame_rate import parse_rate

Alpha = Literal["straight", "premultiplied"]
"""How a picture's transparency is stored."""


class VideoStream(Document):
    """The video stream that is encoded: the first that is neither an attached picture nor a thumbnail."""

    index: int
    """Stream index in the container."""
    codec: str
    profile: str | None = None
    width: int
    """Of the decoded picture in pixels, cropped as codec and container say, before rotation and sample aspect ratio."""
    height: int
    display_width: int
    """Width in square pixels, after rotation: what a viewer sees. Ladders are cut to this."""
    display_height: int
    frame_rate: str
    """Average rate as an exact fraction, e.g. ``24000/1001``."""
    variable_frame_rate: bool = False
    motion_rate: str | None = None
    """The rate that the motion of a variable one needs, as an exact fraction; None where ``frame_rate`` says it."""
    frames: int | None = None
    """As the container says; the full decode counts."""
    duration_s: float
    start_time_s: float = 0.0
    """Of the first picture that can be decoded, in the title: it is shown from zero on, until it comes."""
    lag_s: float = 0.0
    """How much later than it is meant each picture leaves the decoder: in AVI packets have no time but their order."""
    pixel_format: str
    bit_depth: int = 8
    field_order: str | None = None
    rotation: int = 0
    sample_aspect_ratio: str = "1:1"
    color_range: str | None = None
    color_primaries: str | None = None
    color_transfer: str | None = None
    color_space: str | None = None
    """This and the colours before it are the first decoded picture's, which may know more than the container."""
    blank_lines: int = 0
    """At the top, cut off before anything else; not counted in ``height``."""
    alpha: Alpha | None = None
    """How transparency is stored; None for opaque pictures."""
    decoder: str | None = None
    """The decoder of ffmpeg's that has to be asked for; None for its usual one."""
    followed: bool = True
    """Whether pictures that are others on the way are brought to this form. Not where ffmpeg itself has to turn, mirror
    or crop them: its filters for that cannot do with others."""
    reshaped: bool = False
    """Whether there are pictures of another shape: they are fitted in, with black around them."""

    @property
    def fps(self) -> Fraction:
        """Exact average frame rate."""
        return parse_rate(self.frame_rate)

    @property
    def end_s(self) -> float:
        """Of the last picture, in the title."""
        return self.start_time_s + self.duration_s


class AudioRole(StrEnum):
    """What a sound track is for."""

    MAIN = "main"
    DESCRIPTION = "description"
    """The main sound with a narrator who describes the picture, for those who do not see it."""
    COMMENTARY = "commentary"
    CLEAR_SPEECH = "clear_speech"
    """Mixed for those who are hard of hearing."""
    EFFECTS = "effects"
    """Music and effects without dialogue."""


class Tap(Document):
    """One channel of one stream of the container."""

    stream: int
    """Stream index."""
    channel: int
    """Counted from 0."""


class AudioStream(Document):
    """One audio track: one stream of the container, or channels taken from one or several."""

    index: int
    """Stream index in the container; of the first stream where there are several."""
    codec: str
    channels: int
    channel_layout: str | None = None
    sample_rate_hz: int
    language: str = "und"
    """BCP 47; ``und`` where the container says nothing."""
    title: str | None = None
    default: bool = False
    start_time_s: float = 0.0
    """Of the first sample, in the title: silence stands before it."""
    duration_s: float | None = None
    role: AudioRole = AudioRole.MAIN
    taps: tuple[Tap, ...] = ()
    """Where each channel comes from, in the order of ``channel_layout``; empty for the stream as it is."""

    @property
    def streams(self) -> tuple[int, ...]:
        """Indexes of the streams that it is made of."""
        return tuple(dict.fromkeys(tap.stream for tap in self.taps)) or (self.index,)


class SubtitleStream(Document):
    """One embedded subtitle track."""

    index: int
    codec: str
    language: str = "und"
    title: str | None = None
    forced: bool = False
    hearing_impaired: bool = False
    default: bool = False
    text: bool = True
    """False for bitmap subtitles, which cannot become WebVTT."""


class Chapter(Document):
    """A stretch of the title that has a name."""

    start_s: float
    """From the title's zero."""
    end_s: float
    title: str


class Finding(Document):
    """Something unusual that does not stop the title."""

    code: str
    message: str


class MezzanineIdentity(Document):
    """What tells that the bytes behind an address are still the same: checked whenever a task opens them."""

    uri: str
    """Where tasks read it: the request's address for ``file://``, the store's copy for ``s3://`` and ``https://``."""
    size_bytes: int
    marker: str
    """Modification time (ns) of a file, or checksum of a copy."""


class Inspection(Document):
    """Container, streams and soundness of a mezzanine."""

    mezzanine: MezzanineIdentity
    container: str
    """ffprobe's format name, e.g. ``mov,mp4,m4a,3gp,3g2,mj2``."""
    origin_s: float = 0.0
    """The title's zero on the container's own clock: every other time here, and of every stage, counts from it. It is
    the earlier of the first picture and the first sample of the sound that is published."""
    duration_s: float
    """Of the title: from its zero to the end of the longer of picture and sound."""
    seeks: bool = True
    """Whether a decoder that starts in the middle gives right pictures."""
    missing_s: float = 0.0
    """How long the pictures are that stand before the first that can be decoded: a recording may begin between two
    keyframes."""
    bitrate_kbps: float | None = None
    video: VideoStream
    audio: tuple[AudioStream, ...] = ()
    subtitles: tuple[SubtitleStream, ...] = ()
    title: str | None = None
    """What the container calls it."""
    chapters: tuple[Chapter, ...] = ()
    programme: int | None = None
    """Number of the programme that is published, where the container has several."""
    warnings: tuple[Finding, ...] = ()
    tool_version: str
    """Version of the ffmpeg that decoded the samples."""


class Window(Document):
    """A sampled stretch of the title."""

    start_s: float
    duration_s: float


class Crop(Document):
    """The picture inside black bars, in coded pixels."""

    width: int
    height: int
    x: int
    y: int


class Analysis(Document):
    """Result of the stage ``analyse``: what the sampled windows show of the content. None means not measurable."""

    windows: tuple[Window, ...]
    si_mean: float | None = None
    """Spatial information (ITU-T P.910), mean over the sampled frames."""
    si_max: float | None = None
    ti_mean: float | None = None
    """Temporal information (ITU-T P.910)."""
    ti_max: float | None = None
    motion_mean: float | None = None
    """Mean absolute luma difference between neighbouring frames, 0–255 (8 bit)."""
    scene_cuts: tuple[float, ...] = ()
    """Times in seconds, within the sampled windows."""
    scene_cuts_per_minute: float | None = None
    crop: Crop | None = None
    """Set only where bars are stable over all windows; reported, not applied."""
    interlaced: bool = False
    pulled_down: bool = False
    """Film at 24 pictures a second, spread over the fields of video at 30 in the picture itself."""
    top_field_first: bool | None = None
    """None where neither is the case."""
    black_share: float | None = None
    """Share of sampled time that is black, 0–1."""
    freeze_share: float | None = None
    loudness_lufs: float | None = None
    """Integrated loudness (EBU R128) of the first audio track, over the windows; None without audio or in silence."""
    true_peak_dbtp: float | None = None
    brightest_s: float | None = None
    """Time of the most representative frame: neither black nor at a cut. Seed of the poster."""
