"""What a title's tasks beside its encodes cost by the bare rates, and how a farm differs from them.

The pictures of the source are decoded once and those of the renditions again, frames are compared, and the sound is
measured, encoded and listened to: each of these has a rate of its own (:class:`include.domain.cost.rates.TaskRates`).
"""

from __future__ import annotations

from include.domain.cost.calibration import ratio
from include.domain.cost.features import SourceFeatures, TaskFeatures, TaskName, TitleFeatures
from include.domain.cost.rates import NANO, CostRates
from include.domain.recipe.codecs import AUDIO_RATE_HZ


def task_s(task: TaskName, title: TitleFeatures, rates: CostRates) -> float:
    """CPU seconds of a task of a title, without the start of its worker."""
    return _task_s(
        task,
        title.source,
        rates,
        renditions=len(title.encodes),
        output_pixels=title.output_pixels,
        compared_frames=title.compared_frames,
    )


def task_ratio(features: TaskFeatures, cpu_s: float, rates: CostRates) -> float | None:
    """Measured over predicted CPU seconds of one of the farm's own tasks; None where it is too short to tell."""
    predicted_s = _task_s(
        features.task,
        features,
        rates,
        renditions=features.renditions,
        output_pixels=features.output_pixels,
        compared_frames=features.compared_frames,
    )
    return ratio(cpu_s - rates.start_s, predicted_s)


def _task_s(
    task: TaskName,
    source: SourceFeatures,
    rates: CostRates,
    *,
    renditions: int,
    output_pixels: float,
    compared_frames: int,
) -> float:
    """The sum over what the task has to do."""
    rate = getattr(rates, task)
    size, duration_s = source.source_width * source.source_height, source.source_duration_s
    frames = duration_s * source.source_fps
    nanoseconds = (
        rate.source_pixel * size * frames
        + rate.source_frame * frames
        + rate.sampled_pixel * size * min(duration_s, rates.sampled_s) * source.source_fps
        + rate.output_pixel * output_pixels
        + rate.output_frame * frames * renditions
        + rate.compared_pixel * size * compared_frames * renditions
        + rate.file_sample * source.audio_renditions * duration_s * AUDIO_RATE_HZ
        + rate.channel_sample * source.audio_channels * duration_s * AUDIO_RATE_HZ
    )
    starts_s = rate.start_s + rate.rendition_s * renditions + rate.sound_s * source.audio_renditions
    return float(starts_s + nanoseconds * NANO)
