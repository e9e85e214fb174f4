"""Quality rules: what a measured rendition must be, how scores are pooled, and what a title may go out without."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate

from include.base.document import Document
from include.base.errors import CoreRungMissing
from include.domain.media.alignment import ALIKE, Lag
from include.domain.media.frame_rate import parse_rate
from include.domain.outcome.results import (
    AudioRendition,
    CheckOutcome,
    QualityScore,
    RenditionVerdict,
    SourceVerdict,
    TrackVerdict,
)
from include.domain.plan.plan import Plan
from include.domain.recipe.codecs import AUDIO_RATE_HZ
from include.domain.recipe.rungs import Rendition

LOUDNESS_TOLERANCE_LU = 1.0
PEAK_TOLERANCE_DB = 0.5
"""AAC moves peaks a little after the limiter."""
AUDIO_END_TOLERANCE_S = 0.1
SAMPLE_TOLERANCE = 1024
"""One frame of AAC."""
STEREO_CHANNELS = 2
SAME_PICTURE_VMAF = 60.0
SAME_PICTURE_P1 = 10.0
"""From this mean and this first percentile on the picture is the source's, whatever a comparison of thumbnails says."""


class RenditionFacts(Document):
    """What a full decode of a rendition showed."""

    width: int
    height: int
    frames: int
    duration_s: float
    keyframes: tuple[int, ...]
    """Positions in presentation order, counted from 0."""
    decode_errors: tuple[str, ...] = ()


def expected_frames(frame_rate: str, verified: SourceVerdict) -> tuple[int, int]:
    """Least and greatest frame count of a sound rendition at the constant ``frame_rate``.

    It may round by one frame at the end.
    """
    count = round(Fraction(verified.duration_s).limit_denominator(1_000_000) * parse_rate(frame_rate))
    return max(1, count - 1), count + 1


def faults(rendition: Rendition, facts: RenditionFacts, *, frames: tuple[int, int]) -> tuple[str, ...]:
    """Why ``rendition`` must not be published, in sentences; empty is good.

    Args:
        rendition: What was ordered.
        facts: What came.
        frames: Least and greatest frame count, from :func:`expected_frames`.
    """
    found = [f"does not decode: {error}" for error in facts.decode_errors[:3]]
    if (facts.width, facts.height) != (rendition.width, rendition.height):
        found.append(f"is {facts.width}x{facts.height}, ordered were {rendition.width}x{rendition.height}")
    least, most = frames
    if not least <= facts.frames <= most:
        found.append(f"has {facts.frames} frames, the mezzanine gives {least} to {most}")
    frame_s = float(1 / parse_rate(rendition.frame_rate))
    if abs(facts.duration_s - facts.frames * frame_s) > 2 * frame_s:
        found.append(f"lasts {facts.duration_s:.3f} s, its {facts.frames} frames last {facts.frames * frame_s:.3f} s")
    wanted = tuple(range(0, facts.frames, rendition.gop_frames))
    if facts.keyframes != wanted:
        odd = sorted(set(wanted) ^ set(facts.keyframes))
        found.append(f"keyframes are not every {rendition.gop_frames} frames (first difference at frame {odd[0]})")
    return tuple(found)


def unlike_the_others(frames: dict[str, int]) -> dict[str, str]:
    """Renditions whose frame count is not that of most: players could not switch to them in place."""
    if not frames:
        return {}
    usual, _ = Counter(frames.values()).most_common(1)[0]
    return {
        name: f"has {each} frames, the other renditions have {usual}" for name, each in frames.items() if each != usual
    }


class Misplaced(Document):
    """What an excerpt says against a rendition or track."""

    message: str
    """A sentence without its subject."""
    foreign: bool
    """Whether the source's content is not there at all; False where it is there at another time."""


def misplaced(lag: Lag | None, likeness: float | None, *, what: str, at_s: float) -> Misplaced | None:
    """What an excerpt says against a rendition or track; None for nothing.

    Args:
        lag: Where it matches the source best; None where nothing changes in the source.
        likeness: How like its pictures are to those of the source at the same times; None where that says nothing.
        what: ``picture`` or ``sound``.
        at_s: Where the excerpt begins.
    """
    if lag is not None and lag.shifted:
        direction = "late" if lag.seconds > 0 else "early"
        return Misplaced(
            message=f"its {what} comes {abs(lag.seconds):.2f} s {direction} at {at_s:.1f} s", foreign=False
        )
    if (likeness is not None and likeness < ALIKE) or (lag is not None and lag.foreign):
        verb = "show" if what == "picture" else "have"
        return Misplaced(message=f"does not {verb} the mezzanine's {what} at {at_s:.1f} s", foreign=True)
    return None


def recognised(compared: Iterable[tuple[Sequence[Misplaced], QualityScore | None]]) -> bool:
    """Whether VMAF knows the picture again where the excerpts do not: then these are no witness of what it shows.

    A source may be shown in a way that excerpts do not follow. All renditions come through the same filters, and of a
    small one VMAF at the display's size says little: so one rendition speaks for all.

    Args:
        compared: What the excerpts say against each rendition, and its score.
    """
    return any(
        score is not None and is_the_sources(score) and any(each.foreign for each in found) for found, score in compared
    )


def is_the_sources(score: QualityScore) -> bool:
    """Whether VMAF is so high that nothing but the source's picture has it."""
    return score.mean >= SAME_PICTURE_VMAF and score.p1 >= SAME_PICTURE_P1


def picture_faults(found: Sequence[Misplaced], *, recognised: bool) -> tuple[str, ...]:
    """What the excerpts say against a rendition; nothing but that it is shifted where the picture was recognised."""
    return tuple(each.message for each in found if not (each.foreign and recognised))


def sample_faults(samples: int, *, duration_s: float) -> tuple[str, ...]:
    """What the count of a track's decoded samples says against it.

    Args:
        samples: Of each channel.
        duration_s: Of the title.
    """
    due = round(duration_s * AUDIO_RATE_HZ)
    if abs(samples - due) <= SAMPLE_TOLERANCE:
        return ()
    return (f"has {samples} samples, the title's {duration_s:.3f} s have {due}",)


def with_their_stereo(tracks: Sequence[AudioRendition], verdicts: Sequence[TrackVerdict]) -> tuple[TrackVerdict, ...]:
    """The verdicts; a version with more channels does not go out without the stereo version of its sound."""
    bad = {each.track for each in verdicts if each.outcome is not CheckOutcome.PASS}
    lost = {track.sound or track.name for track in tracks if track.name in bad and track.channels <= STEREO_CHANNELS}
    alone = {track.name for track in tracks if (track.sound or track.name) in lost and track.name not in bad}
    update = {"outcome": CheckOutcome.FAIL, "reasons": ("the stereo version of this sound failed its checks",)}
    return tuple(each.model_copy(update=update) if each.track in alone else each for each in verdicts)


def withhold(tracks: Sequence[AudioRendition], verdicts: Sequence[TrackVerdict]) -> bool:
    """Whether a title lacks audio tracks; raises :class:`CoreRungMissing` where it must not go out without them."""
    bad = {verdict.track: verdict for verdict in verdicts if verdict.outcome is not CheckOutcome.PASS}
    main = [track.name for track in tracks if track.default] or [track.name for track in tracks]
    if main and all(name in bad for name in main):
        told = "; ".join(f"{name} {' and '.join(bad[name].reasons)}" for name in main)
        raise CoreRungMissing(f"the main sound failed its checks: {told}", reason="main_sound_missing")
    return bool(bad)


def audio_faults(track: AudioRendition, *, video_s: float, target_lufs: float, ceiling_dbtp: float) -> tuple[str, ...]:
    """Findings on an encoded audio track, in sentences.

    Args:
        track: The track as measured after its encode.
        video_s: Presented duration of the video.
        target_lufs: Where its loudness should be, unless its peaks allow less (``due_lufs``).
        ceiling_dbtp: Where its true peak should stay below.
    """
    found = []
    if abs(track.duration_s - video_s) > AUDIO_END_TOLERANCE_S:
        found.append(f"{track.name}: lasts {track.duration_s:.2f} s, the video {video_s:.2f} s")
    due_lufs = target_lufs if track.due_lufs is None else track.due_lufs
    if track.loudness_lufs is None:
        found.append(f"{track.name}: no loudness to measure (silent, or too short)")
    elif abs(track.loudness_lufs - due_lufs) > LOUDNESS_TOLERANCE_LU:
        found.append(f"{track.name}: loudness is {track.loudness_lufs:.1f} LUFS, the target {due_lufs:.1f}")
    if track.true_peak_dbtp is not None and track.true_peak_dbtp > ceiling_dbtp + PEAK_TOLERANCE_DB:
        found.append(f"{track.name}: true peak is {track.true_peak_dbtp:.1f} dBTP, the ceiling {ceiling_dbtp:.1f}")
    return tuple(found)


def pool(scores: Sequence[float], *, sampled: bool, model: str) -> QualityScore | None:
    """VMAF per frame as one score; None where no frame was compared.

    The harmonic mean is libvmaf's, of ``score + 1``, so that one frame at zero does not decide alone.
    """
    return pool_counted(Counter(scores), sampled=sampled, model=model)


def pool_counted(scores: Mapping[float, int], *, sampled: bool, model: str) -> QualityScore | None:
    """The same of scores that are given with the number of their frames."""
    if not scores or not all(math.isfinite(score) for score in scores):
        return None
    ordered = sorted(scores.items())
    count = sum(scores.values())
    return QualityScore(
        harmonic_mean=round(count / sum(frames / (score + 1) for score, frames in ordered) - 1, 3),
        p1=round(at_rank(ordered, math.ceil(count / 100)), 3),
        mean=round(sum(score * frames for score, frames in ordered) / count, 3),
        frames=count,
        sampled=sampled,
        model=model,
    )


def at_rank(ordered: Sequence[tuple[float, int]], rank: int) -> float:
    """The score of the frame that stands at ``rank``, counted from 1; 0 where there are fewer frames."""
    upto = accumulate(frames for _, frames in ordered)
    return next((score for (score, _), last in zip(ordered, upto, strict=True) if last >= rank), 0.0)


def vmaf_model(display_width: int, display_height: int) -> str:
    """The model made for the viewing distance of this size."""
    return "vmaf_4k_v0.6.1" if min(display_width, display_height) >= 2160 else "vmaf_v0.6.1"


def conclude(plan: Plan, verdicts: Sequence[RenditionVerdict]) -> bool:
    """Whether the title goes out degraded; raises :class:`CoreRungMissing` where it must not go out at all."""
    bad = {verdict.rendition: verdict for verdict in verdicts if verdict.outcome is not CheckOutcome.PASS}
    core = [rendition.name for rendition in plan.renditions if rendition.core and rendition.name in bad]
    if core:
        told = "; ".join(f"{name} {' and '.join(bad[name].reasons) or bad[name].outcome}" for name in core)
        raise CoreRungMissing(f"core renditions are missing or failed their checks: {told}", reason="core_rung_missing")
    if len(bad) == len(plan.jobs):
        raise CoreRungMissing("no rendition passed its checks", reason="core_rung_missing")
    return bool(bad)
