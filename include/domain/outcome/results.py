"""Result documents of the stages after the plan."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from include.base.document import Document
from include.domain.media.media import AudioRole, Finding, Tap
from include.domain.plan.degradation import Binding


class Cost(Document):
    """What a piece of work used, from the kernel's accounting of its process tree."""

    wall_s: float
    cpu_s: float
    peak_memory_mb: float

    @classmethod
    def sum(cls, costs: Iterable[Cost]) -> Cost:
        """What several pieces of work used one after the other."""
        known = tuple(costs)
        return cls(
            wall_s=round(sum(cost.wall_s for cost in known), 3),
            cpu_s=round(sum(cost.cpu_s for cost in known), 3),
            peak_memory_mb=max((cost.peak_memory_mb for cost in known), default=0.0),
        )

    def part(self, count: int) -> Cost:
        """What each of ``count`` equal parts used, that were done together."""
        return self.model_copy(update={"wall_s": round(self.wall_s / count, 3), "cpu_s": round(self.cpu_s / count, 3)})


class WorkerUsage(Cost):
    """What a task's last worker used."""

    whole: bool = True
    """Whether it made all of the task's results; False where an earlier attempt had left some."""


class HardwareFault(StrEnum):
    """Why a hardware encoder was not used."""

    NOT_ALLOWED = "not_allowed"
    """This attempt runs where no GPU is."""
    NO_DRIVER = "no_driver"
    OLD_DRIVER = "old_driver"
    NO_ENCODER = "no_encoder"
    """The card has none: A100, H100, H200."""
    BUSY = "busy"
    """All sessions of the card, or its memory, are taken."""
    UNSUPPORTED = "unsupported"
    """The card's encoder does not take this size or these options."""
    CRASHED = "crashed"
    HUNG = "hung"
    BAD_OUTPUT = "bad_output"


class Fallback(Document):
    """The software encoder made what a hardware encoder should have made."""

    encoder: str
    """The one that was wanted."""
    fault: HardwareFault
    message: str
    """A sentence for people; no path and no address in it, as it is published."""


class EncodeResult(Document):
    """A finished rendition in the work folder, or the word that it was left out."""

    rendition: str
    key: str
    """Mezzanine identity, recipe hash and encoder version: same key, same bytes."""
    uri: str
    """Store key of the video-only MP4 or WebM; empty for a rung that was left out."""
    size_bytes: int
    frames: int
    duration_s: float
    bitrate_kbps: float
    encoder: str | None = None
    """ffmpeg's encoder that made it; None in results from before there were two."""
    encoder_version: str
    fallback: Fallback | None = None
    degradation: Binding | None = None
    """What was given up for the title's deadline."""
    command: str
    cost: Cost

    @property
    def made(self) -> bool:
        """Whether there is a rendition."""
        return self.uri != ""


class SourceVerdict(Document):
    """Result of the stage ``verify_source``: the full checksum and the full decode."""

    checksum: str
    """``sha256:<hex>`` of the whole mezzanine."""
    frames: int
    """Pictures of the title at the plan's constant rate, the held ones included: what every rendition must have."""
    duration_s: float
    """Presented duration of those pictures."""
    decode_errors: int
    warnings: tuple[Finding, ...] = ()
    cost: Cost


class AudioRendition(Document):
    """One encoded audio track."""

    name: str
    """E.g. ``aac_en_stereo``."""
    uri: str
    """Store key of the audio-only MP4."""
    streams: tuple[int, ...]
    """Indexes of the source's streams that it was made of."""
    taps: tuple[Tap, ...] = ()
    """Channels of those that it was made of; empty for all of them."""
    codec: str
    channels: int
    language: str
    label: str
    bitrate_kbps: int
    duration_s: float
    source_lufs: float | None = None
    """Integrated loudness of the source in this layout."""
    source_range_lu: float | None = None
    source_peak_dbtp: float | None = None
    """The source's true peak in this layout."""
    gain_db: float | None = None
    """The one gain between source and encode."""
    limited_db: float = 0.0
    """How far a limiter has taken the highest peak down; 0 where there was none."""
    due_lufs: float | None = None
    """What it should measure after its gain, and a limiter where there was one; None where the source has none."""
    loudness_lufs: float | None = None
    """Measured on the encoded track."""
    true_peak_dbtp: float | None = None
    """Measured on the encoded track."""
    default: bool = False
    role: AudioRole = AudioRole.MAIN
    sound: str
    """The same for all layouts of one sound, and for no other: ``en``, ``en_description``."""


class AudioResult(Document):
    """Result of the stage ``audio``."""

    renditions: tuple[AudioRendition, ...] = ()
    warnings: tuple[Finding, ...] = ()


class TextRendition(Document):
    """One WebVTT track."""

    name: str
    uri: str
    language: str
    label: str
    forced: bool = False
    hearing_impaired: bool = False
    """It tells sounds and speakers as well."""
    default: bool = False
    cues: int
    stream: int | None = None
    """Index of the mezzanine's subtitle stream that it was read from; None for a file of the request, and for captions
    in the picture."""


class TextResult(Document):
    """Result of the stage ``subtitles``."""

    renditions: tuple[TextRendition, ...] = ()
    warnings: tuple[Finding, ...] = ()


class ImagesResult(Document):
    """Result of the stage ``images``; store keys."""

    poster: str
    thumbnail: str
    sprites: tuple[str, ...]
    """The sheets, in order; ``sprite_vtt`` names them."""
    sprite_vtt: str
    preview_mp4: str
    preview_gif: str
    poster_time_s: float


class CheckOutcome(StrEnum):
    """Verdict on one rendition."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    MISSING = "missing"


class QualityScore(Document):
    """VMAF of a rendition against the mezzanine, both at display size. A score that was not measured is None."""

    harmonic_mean: float
    p1: float
    """First percentile over the compared frames."""
    mean: float
    frames: int
    sampled: bool
    """False when every frame was compared."""
    model: str


class RenditionVerdict(Document):
    """What the checks found of one rendition."""

    rendition: str
    outcome: CheckOutcome
    reasons: tuple[str, ...] = ()
    """Why not pass, in sentences."""
    vmaf: QualityScore | None = None
    check_cost: Cost | None = None
    key: str | None = None
    """Of the encode's result that was checked; None where there was none."""
    frames: int | None = None


class TrackVerdict(Document):
    """What the checks found of one audio track."""

    track: str
    outcome: CheckOutcome
    reasons: tuple[str, ...] = ()
    """Why it must not go out, in sentences."""
    samples: int
    """Of each channel, as decoded."""
    check_cost: Cost


class TextVerdict(Document):
    """What the checks found of one subtitle track."""

    track: str
    outcome: CheckOutcome
    reasons: tuple[str, ...] = ()
    """Why it must not go out, in sentences."""


class CheckResult(Document):
    """Result of the stage ``check``."""

    renditions: tuple[RenditionVerdict, ...]
    audio: tuple[str, ...] = ()
    """Findings on audio tracks, and on what could not be compared, in sentences; empty is good."""
    tracks: tuple[TrackVerdict, ...]
    texts: tuple[TextVerdict, ...]
    degraded: bool
    """True when a rendition or track without which the title can go out is missing or failed."""
    cost: Cost

    @property
    def passed(self) -> tuple[str, ...]:
        """Names of the renditions that may be packaged."""
        return tuple(v.rendition for v in self.renditions if v.outcome is CheckOutcome.PASS)

    @property
    def withheld(self) -> tuple[str, ...]:
        """Names of the audio tracks that must not be packaged."""
        return tuple(v.track for v in self.tracks if v.outcome is not CheckOutcome.PASS)

    @property
    def withheld_texts(self) -> tuple[str, ...]:
        """Names of the subtitle tracks that must not be packaged."""
        return tuple(v.track for v in self.texts if v.outcome is not CheckOutcome.PASS)

    @property
    def of_tracks(self) -> tuple[str, ...]:
        """What is wrong with tracks that are left out, in sentences."""
        sound = (f"{v.track} is left out: {' and '.join(v.reasons)}" for v in self.tracks if v.reasons)
        text = (f"subtitles {v.track} are left out: {' and '.join(v.reasons)}" for v in self.texts if v.reasons)
        return (*sound, *text)


class PackagedRendition(Document):
    """One rung as the manifests declare it: measured, not configured."""

    rendition: str
    codec: str
    """RFC 6381, e.g. ``avc1.640028``."""
    width: int
    height: int
    bandwidth: int
    average_bandwidth: int
    size_bytes: int
    vmaf: float | None = None
    """Harmonic mean."""


class PackageResult(Document):
    """Result of the stage ``package``: a complete set in the work folder, ready to be published as it is."""

    prefix: str
    """Store key of the set's folder."""
    files: dict[str, int]
    """Every file relative to ``prefix`` with its size in bytes."""
    hls: str
    """Relative to ``prefix``."""
    dash: str | None
    progressive: tuple[str, ...] = ()
    preview: str
    report: str
    duration_s: float
    rungs: tuple[PackagedRendition, ...]
    degraded: bool
    """Whether what this set should have is not all here, or not with all of its quality."""
    whole: bool = True
    """False for an edition that goes out before the complete one: the core rungs alone, say, by intention."""
    place: int = Field(default=0, ge=0)
    """Which of the editions before the complete one it is, counted from 0; 0 for the complete one."""
    missing: tuple[str, ...] = ()
    """Rungs that the plan had and this set lacks; those of a first version follow with the next."""
    given_up: tuple[Binding, ...] = ()
    """What this set lacks for its title's deadline: quality, or rungs, which are among the missing ones too."""
    packager_version: str


class PublishResult(Document):
    """Result of the stage ``publish``."""

    version: int
    prefix: str
    """Store key ``titles/<title_id>/v<n>``."""
    published_at: datetime
    playable_at: datetime
    """Since when a version of this request can be played: the moment of its first one."""
    whole: bool = True
    """False for an edition that another one of the same request follows."""
    place: int = Field(default=0, ge=0)
    """As of the set that was packaged."""
    hls: str
    """Address of the HLS manifest as a player gets it."""
    dash: str | None
    preview: str
    degraded: bool
    deadline_met: bool | None
    """Whether the title was playable in time; None without a deadline."""
