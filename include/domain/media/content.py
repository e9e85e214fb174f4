"""From what measuring filters say of each frame to the analysis of a title."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from include.base.document import Document
from include.domain.media.media import Analysis, Crop, VideoStream, Window

CUT_SCORE = 10.0
"""scdet's own threshold for a change of scene."""
FROM_CUT_S = 0.4
"""A representative frame keeps this distance from a cut."""
INTERLACED_LINES = frozenset({480, 486, 512, 576, 1080, 1088})
"""Heights of interlaced formats. Only there is combing believed that the container does not declare."""
DECLARED_SHARE = 0.2
UNDECLARED_SHARE = 0.8
"""Share of combed frames that it takes, with and without a declaration: moving patterns look combed too."""
BARS_SHARE = 0.98
"""A crop that keeps more than this of the picture is none."""


class Frame(Document):
    """What the filters say of one frame."""

    time_s: float
    """In the title."""
    metadata: dict[str, str]

    def number(self, name: str) -> float | None:
        """The number called ``lavfi.<name>``."""
        try:
            return float(self.metadata[f"lavfi.{name}"])
        except (KeyError, ValueError):
            return None


def summarise(
    windows: Sequence[Window],
    measured: Sequence[Sequence[Frame]],
    video: VideoStream,
    *,
    loudness_lufs: float | None,
    true_peak_dbtp: float | None,
) -> Analysis:
    """The analysis of a title.

    Args:
        windows: Sampled stretches.
        measured: The frames of each; empty where a window could not be measured.
        video: The source.
        loudness_lufs: As measured over all windows.
        true_peak_dbtp: The same.
    """
    frames = [frame for each in measured for frame in each]
    # The first frame of a window has no neighbour to differ from.
    inner = [frame for each in measured for frame in each[1:]]
    si, ti = _numbers(frames, "siti.si"), _numbers(inner, "siti.ti")
    motion = _numbers(inner, "signalstats.YDIF")
    cuts = tuple(frame.time_s for frame in inner if (frame.number("scd.score") or 0.0) >= CUT_SCORE)
    sampled_s = sum(window.duration_s for window, each in zip(windows, measured, strict=True) if each)
    interlaced, top_first = _interlaced(frames, video)
    return Analysis(
        windows=tuple(windows),
        si_mean=_mean(si),
        si_max=max(si, default=None),
        ti_mean=_mean(ti),
        ti_max=max(ti, default=None),
        motion_mean=_mean(motion),
        scene_cuts=cuts,
        scene_cuts_per_minute=round(len(cuts) * 60 / sampled_s, 3) if sampled_s > 0 else None,
        crop=_crop(measured, video),
        interlaced=interlaced,
        top_field_first=top_first if interlaced else None,
        black_share=_share(frames, sum(1 for frame in frames if frame.number("blackframe.pblack") is not None)),
        freeze_share=_share(frames, sum(_frozen(each) for each in measured)),
        loudness_lufs=loudness_lufs,
        true_peak_dbtp=true_peak_dbtp,
        brightest_s=_representative(frames, cuts),
    )


def _interlaced(frames: Sequence[Frame], video: VideoStream) -> tuple[bool, bool | None]:
    """Whether the pictures are combed, and which field is first."""
    kinds = Counter(frame.metadata.get("lavfi.idet.multiple.current_frame", "undetermined") for frame in frames)
    top, bottom = kinds["tff"], kinds["bff"]
    seen = top + bottom + kinds["progressive"]
    declared = video.field_order in {"tt", "bb", "tb", "bt"}
    if seen == 0:
        # A still picture shows no combing: the declaration is all there is.
        return declared, (video.field_order in {"tt", "bt"}) if declared else None
    needed = DECLARED_SHARE if declared else UNDECLARED_SHARE
    possible = declared or (video.height in INTERLACED_LINES and video.fps <= 30)
    return possible and (top + bottom) / seen >= needed, top >= bottom


def _crop(measured: Sequence[Sequence[Frame]], video: VideoStream) -> Crop | None:
    """The picture inside black bars, where every window ends with about the same."""
    found: list[Crop] = []
    for frames in measured:
        last = frames[-1] if frames else None
        sides = [last.number(f"cropdetect.{name}") if last else None for name in ("w", "h", "x", "y")]
        values = [int(side) for side in sides if side is not None and side >= 0]
        if len(values) < 4 or values[0] == 0 or values[1] == 0:
            # A window that is black throughout, or was not measured, says nothing about bars.
            continue
        found.append(Crop(width=values[0], height=values[1], x=values[2], y=values[3]))
    if not found or any(_differ(found[0], each) for each in found[1:]):
        return None
    crop = found[0]
    turned = video.rotation % 180 != 0
    full = (video.height, video.width) if turned else (video.width, video.height)
    return crop if crop.width * crop.height < BARS_SHARE * full[0] * full[1] else None


def _differ(one: Crop, other: Crop) -> bool:
    return any(abs(getattr(one, side) - getattr(other, side)) > 4 for side in ("width", "height", "x", "y"))


def _frozen(frames: Sequence[Frame]) -> int:
    """Frames between the starts and ends that freezedetect marks; one left open lasts to the window's end."""
    count, start = 0, None
    for frame in frames:
        begun = frame.number("freezedetect.freeze_start")
        if begun is not None:
            # It is reported once the picture has stood for a while.
            start = frame.time_s - (frame.number("freezedetect.freeze_duration") or 0.5)
        if frame.number("freezedetect.freeze_end") is not None and start is not None:
            count += sum(1 for each in frames if start <= each.time_s < frame.time_s)
            start = None
    if start is not None:
        count += sum(1 for each in frames if each.time_s >= start)
    return min(count, len(frames))


def _representative(frames: Sequence[Frame], cuts: Sequence[float]) -> float | None:
    """Time of the frame with the most detail that is neither dark nor blown out nor near a cut."""
    candidates = [
        (frame.number("siti.si") or 0.0, -frame.time_s)
        for frame in frames
        if 40 <= (frame.number("signalstats.YAVG") or 0.0) <= 220
        and all(abs(frame.time_s - cut) >= FROM_CUT_S for cut in cuts)
    ]
    if not candidates:
        return None
    return -max(candidates)[1]


def _numbers(frames: Sequence[Frame], name: str) -> list[float]:
    return [value for value in (frame.number(name) for frame in frames) if value is not None and value == value]


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def _share(frames: Sequence[Frame], count: int) -> float | None:
    return round(count / len(frames), 4) if frames else None
