"""What is known of an encode before it starts: one record for forecasts, for the history and for what learns from it.

The record is flat, so that each field is a column of a learner's table. Functions alone build it: from an inspected
source and a planned rendition (:func:`source_features`, :func:`encode_features`), or from a source of which only the
metadata is known and a rung that is cut to it (:func:`metadata_features`, :func:`expected_features`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from include.base.document import Document
from include.domain.cost.rates import SourceShape
from include.domain.media.choosing import LIKELY_SURROUND, STEREO, chosen_tracks, sounds
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Analysis, Inspection
from include.domain.recipe.codecs import CODECS, SOFTWARE_ENCODERS
from include.domain.recipe.rate_control import RateControlKind
from include.domain.recipe.rungs import Cut, Ladder, Rendition
from include.domain.recipe.tiers import TierPolicy
from include.domain.title.title import TitleJob

CONTENT = (
    "si_mean",
    "si_max",
    "ti_mean",
    "ti_max",
    "motion_mean",
    "scene_cuts_per_minute",
    "black_share",
    "freeze_share",
)
"""The numbers of :class:`Analysis` that a video encoder meets."""


class SourceFeatures(Document):
    """What is known of a source, and of what its samples show. None means not known, or not measured."""

    source_codec: str | None = None
    source_width: int = Field(ge=1)
    """Coded pixels."""
    source_height: int = Field(ge=1)
    source_fps: float = Field(gt=0)
    source_duration_s: float = Field(gt=0)
    """Of the video stream."""
    source_bit_depth: int | None = None
    source_bitrate_kbps: float | None = None
    """Of the whole container."""
    source_known: bool = True
    """False where size and duration are only typical of the title's kind."""
    content_si_mean: float | None = None
    content_si_max: float | None = None
    content_ti_mean: float | None = None
    content_ti_max: float | None = None
    content_motion_mean: float | None = None
    content_scene_cuts_per_minute: float | None = None
    content_black_share: float | None = None
    content_freeze_share: float | None = None
    audio_renditions: int = Field(default=1, ge=0)
    """Files of sound that are made of it: of each sound one in stereo, and one in 5.1 where the source has it."""
    audio_channels: int = Field(default=2, ge=0)
    """Of all these files together."""
    subtitle_tracks: int = Field(default=0, ge=0)
    """Of the source and of the request together."""

    @property
    def shape(self) -> SourceShape:
        """How much picture it has."""
        return SourceShape(
            duration_s=self.source_duration_s,
            width=self.source_width,
            height=self.source_height,
            fps=self.source_fps,
            known=self.source_known,
        )


class EncodeFeatures(SourceFeatures):
    """What is known of one encode before it starts."""

    version: Literal[1] = 1
    """Of this definition. A field that means something else, or a new one that a learner needs, is a new version."""
    codec: str
    encoder: str
    """ffmpeg's name."""
    preset: str
    tune: str | None = None
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    fps: float = Field(gt=0)
    rate_control: RateControlKind | None = None
    rate_value: float | None = None
    """The CRF or CQ; lower is better."""
    maxrate_kbps: int | None = None
    """The cap; None where none is known."""
    gop_frames: int | None = None
    deinterlace: bool = False
    tone_map: bool = False
    machine: str | None = None
    """Class of the machine; None where it is not known before the encode starts."""
    threads: int | None = None

    @property
    def pixels(self) -> int:
        """Of one frame of the rendition."""
        return self.width * self.height


@dataclass(frozen=True, kw_only=True)
class TitleFeatures:
    """What is known of a title before its work starts."""

    source: SourceFeatures
    encodes: tuple[EncodeFeatures, ...]
    compared_frames: int = 0
    """Frames of each rendition that the checks compare with the source."""

    @property
    def output_pixels(self) -> float:
        """Of all frames of all renditions."""
        return sum(each.pixels * each.fps for each in self.encodes) * self.source.source_duration_s


TaskName = Literal["prepare", "extras", "finish"]


class TaskFeatures(SourceFeatures):
    """What is known, before it starts, of a title's task that is no encode: a row of the history."""

    version: Literal[1] = 1
    """Of this definition, as :attr:`EncodeFeatures.version`."""
    task: TaskName
    renditions: int = Field(ge=0)
    """That are checked and packaged."""
    output_pixels: float = Field(ge=0)
    """Of all frames of all these renditions."""
    compared_frames: int = Field(ge=0)
    """Of each of them."""


def source_features(
    source: Inspection,
    analysis: Analysis | None = None,
    *,
    languages: tuple[str, ...] = (),
    text_files: int = 0,
) -> SourceFeatures:
    """Of an inspected source.

    Args:
        source: The inspection.
        analysis: Of the source, where there is one.
        languages: That the title asks for; none asks for all.
        text_files: Subtitles that the request brings along.
    """
    video = source.video
    listed, _ = sounds(chosen_tracks(source.audio, languages)[0])
    wide = sum(each.surround is not None for each in listed)
    content = {f"content_{name}": getattr(analysis, name) for name in CONTENT} if analysis else {}
    return SourceFeatures(
        source_codec=video.codec,
        source_width=video.width,
        source_height=video.height,
        source_fps=float(video.fps),
        source_duration_s=video.duration_s,
        source_bit_depth=video.bit_depth,
        source_bitrate_kbps=source.bitrate_kbps,
        audio_renditions=len(listed) + wide,
        audio_channels=len(listed) * STEREO + wide * LIKELY_SURROUND,
        subtitle_tracks=len(source.subtitles) + text_files,
        **content,
    )


def title_features(title: TitleJob, source: Inspection, analysis: Analysis | None = None) -> SourceFeatures:
    """Of an inspected source, for what ``title`` wants of it."""
    return source_features(source, analysis, languages=title.languages, text_files=len(title.subtitles))


def metadata_features(source: SourceShape, *, languages: int = 1, text_files: int = 0) -> SourceFeatures:
    """Of a source that nobody has inspected: sound is taken to be stereo, in as many languages as are asked for.

    Args:
        source: How much picture it has.
        languages: How many.
        text_files: Subtitles that the request brings along.
    """
    return SourceFeatures(
        source_width=source.width,
        source_height=source.height,
        source_fps=source.fps,
        source_duration_s=source.duration_s,
        source_known=source.known,
        audio_renditions=languages,
        audio_channels=languages * STEREO,
        subtitle_tracks=text_files,
    )


def encode_features(source: SourceFeatures, rendition: Rendition) -> EncodeFeatures:
    """Of a planned rendition of ``source``."""
    return EncodeFeatures(
        **_fields(source),
        codec=rendition.codec,
        encoder=rendition.encoder,
        preset=rendition.preset,
        tune=rendition.tune,
        width=rendition.width,
        height=rendition.height,
        fps=float(parse_rate(rendition.frame_rate)),
        rate_control=rendition.rate_control.kind,
        rate_value=rendition.rate_control.quality,
        maxrate_kbps=rendition.maxrate_kbps,
        gop_frames=rendition.gop_frames,
        deinterlace=rendition.treatment.deinterlace or rendition.treatment.inverse_telecine,
        tone_map=rendition.treatment.tone_map,
    )


def expected_features(
    source: SourceFeatures, cut: Cut, ladder: Ladder, policy: TierPolicy, *, fps: float
) -> EncodeFeatures:
    """Of a rendition that is to be expected of a rung, before there is a plan.

    Args:
        source: As far as it is known.
        cut: The rung at the size that it has for this source.
        ladder: The rung's.
        policy: Of the title's tier.
        fps: Of the rendition.
    """
    return EncodeFeatures(
        **_fields(source),
        codec=ladder.codec,
        encoder=CODECS[ladder.codec].software.name,
        preset=policy.presets.get(ladder.codec, ladder.preset),
        tune=ladder.tune,
        width=cut.width,
        height=cut.height,
        fps=fps,
        rate_control="capped_crf",
        rate_value=cut.rung.crf + policy.crf_offset,
        maxrate_kbps=cut.rung.maxrate_kbps,
        gop_frames=max(1, round(ladder.gop_s * fps)),
    )


def task_features(task: TaskName, title: TitleFeatures) -> TaskFeatures:
    """Of one of a title's tasks that are no encodes."""
    return TaskFeatures(
        **_fields(title.source),
        task=task,
        renditions=len(title.encodes),
        output_pixels=title.output_pixels,
        compared_frames=title.compared_frames,
    )


def read_task_features(record: Mapping[str, Any]) -> TaskFeatures | None:
    """The features that a row of the history of tasks holds; None where this release cannot read it."""
    try:
        return TaskFeatures.model_validate(record)
    except ValidationError:
        return None


def read_features(record: Mapping[str, Any]) -> EncodeFeatures | None:
    """The features that a row of the history holds; None where it says too little, or is of a newer version.

    Rows from before the record had a version held the rendition's own fields, the CRF and the frame rate as a fraction
    among them.
    """
    try:
        if "version" in record:
            return EncodeFeatures.model_validate(record)
        known = {name: value for name, value in record.items() if name in EncodeFeatures.model_fields}
        encoder, rate = str(record["encoder"]), parse_rate(str(record["frame_rate"]))
        return EncodeFeatures.model_validate(
            {
                **known,
                "codec": _codec_of(encoder),
                "fps": float(rate),
                "rate_control": _rate_control(encoder),
                "rate_value": record.get("crf"),
            }
        )
    except (KeyError, ValueError, ZeroDivisionError, ValidationError):
        return None


def _rate_control(encoder: str) -> RateControlKind:
    return "capped_crf" if encoder in SOFTWARE_ENCODERS else "nvenc_cq"


def _codec_of(encoder: str) -> str:
    for codec in CODECS.values():
        if encoder in {maker.name for maker in (codec.software, codec.hardware) if maker is not None}:
            return codec.name
    raise ValueError(f"{encoder}: no such encoder")


def _fields(source: SourceFeatures) -> dict[str, Any]:
    """The source's fields, to go into an encode's record."""
    return dict(source)
