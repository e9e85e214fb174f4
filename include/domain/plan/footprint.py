"""What a worker asks of the node that it runs on: predictions, turned into CPUs, memory, scratch space and time."""

from __future__ import annotations

import math

from include.base.document import Document
from include.domain.cost.features import TitleFeatures, source_features
from include.domain.cost.predictor import Predictor
from include.domain.media.media import Inspection
from include.domain.plan.plan import EncodeJob, Plan

WORKER_MB = 384
"""Python, the worker's libraries and the buffers of its transfers."""
PIXELS_PER_CPU = 520_000
"""Of one frame. Encoders gain little from threads beyond this: two for 720p, four for 1080p."""
MAX_CPUS = 8
GPU_CPUS = 2
"""Beside a hardware encoder CPUs decode and feed it."""
SCRATCH_MB = 512
"""Logs, documents, thumbnails, what a tool keeps beside its output."""
START_MARGIN_S = 900
"""Between a pod's start and that of its tools, and from their end to the last byte in the store."""
COMPARED_BYTES_PER_PIXEL = 180
"""Of the source, for what renditions are compared with: 40 pictures of a premium title and their neighbours, at 1.5
bytes."""
UNKNOWN_SOURCE_MB = 4096
"""Enough to decode samples of a 4K source; a larger one runs out of memory once and is given more."""
MEBIBYTE = 1024**2
MEMORY_STEP_MB = 256
GROWTH = 1.5


class Footprint(Document):
    """Requests and limits of a worker's pod. They are the same: no neighbour takes what a forecast counts on."""

    cpus: int
    memory_mb: int
    scratch_mb: int
    deadline_s: int
    """From the pod's start."""


def encode_footprint(job: EncodeJob, *, on_gpu: bool) -> Footprint:
    """Of an encode job.

    Args:
        job: With its prediction and its time limit.
        on_gpu: Whether a hardware encoder does the work.
    """
    rendition = job.rendition
    return Footprint(
        cpus=GPU_CPUS if on_gpu else _cpus(rendition.width * rendition.height),
        memory_mb=math.ceil(job.prediction.memory_mb.p90) + WORKER_MB,
        # The output, and its copy with the index in front.
        scratch_mb=math.ceil(2 * job.prediction.size_bytes.p90 / MEBIBYTE) + SCRATCH_MB,
        deadline_s=math.ceil(job.time_limit_s) + START_MARGIN_S,
    )


def task_footprint(
    source: Inspection | None,
    plan: Plan | None,
    *,
    predictor: Predictor,
    max_file_bytes: int,
    time_limit_s: float,
) -> Footprint:
    """Of a task that is no encode: from the source, as far as it is known.

    Args:
        source: None before its inspection.
        plan: None before there is one; afterwards its renditions may lie in scratch, once each and once packaged.
        predictor: Of the memory that a title's tasks take.
        max_file_bytes: Largest mezzanine, for one of unknown size.
        time_limit_s: Of the task.
    """
    size_mb = math.ceil((source.mezzanine.size_bytes if source else max_file_bytes) / MEBIBYTE)
    cpus, memory_mb, made_mb = GPU_CPUS, UNKNOWN_SOURCE_MB, 0.0
    if source is not None:
        pixels = source.video.width * source.video.height
        known = source_features(source)
        encodes = plan.features(known) if plan is not None else ()
        (tasks,) = predictor.predict_tasks([TitleFeatures(source=known, encodes=encodes)])
        cpus, memory_mb = _cpus(pixels), 2 * WORKER_MB + math.ceil(tasks.memory_mb.p90)
    if source is not None and plan is not None:
        compared = COMPARED_BYTES_PER_PIXEL * source.video.width * source.video.height
        made_mb = (2 * sum(job.prediction.size_bytes.p90 for job in plan.jobs) + compared) / MEBIBYTE
    return Footprint(
        cpus=cpus,
        memory_mb=memory_mb,
        scratch_mb=size_mb + math.ceil(made_mb) + SCRATCH_MB,
        deadline_s=math.ceil(time_limit_s) + START_MARGIN_S,
    )


def more_memory(memory_mb: int, *, ceiling_mb: int) -> int | None:
    """What to ask for after running out of ``memory_mb``; None where that was the ceiling already."""
    if memory_mb >= ceiling_mb:
        return None
    return min(ceiling_mb, math.ceil(memory_mb * GROWTH / MEMORY_STEP_MB) * MEMORY_STEP_MB)


def _cpus(pixels: int) -> int:
    return min(MAX_CPUS, max(1, math.ceil(pixels / PIXELS_PER_CPU)))
