"""What a worker asks of its node."""

from __future__ import annotations

import math
from typing import Any

import pytest

from include.domain.media.media import Inspection, MezzanineIdentity, VideoStream
from include.domain.plan.footprint import encode_footprint, task_footprint
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment
from include.recipes import load_recipes
from tests.predictions import predicted

PRIOR = load_recipes().prior


def rendition(width: int, height: int, **changes: Any) -> Rendition:
    given: dict[str, Any] = {
        "name": "h264", "rung": "x", "codec": "h264", "encoder": "libx264", "width": width, "height": height,
        "frame_rate": "25", "frames": None, "rate_control": CappedCrf(crf=21.0, maxrate_kbps=8192, bufsize_kbps=9000),
        "treatment": SourceTreatment(),
        "preset": "medium", "gop_frames": 50, "core": True,
    }  # fmt: skip
    return Rendition(**{**given, **changes})


def job(width: int = 1920, height: int = 1080, **changes: Any) -> EncodeJob:
    given: dict[str, Any] = {
        "name": "h264",
        "pool": "cpu_encode",
        "prediction": predicted(memory_mb=1000, size_bytes=1000 * 1024**2),
        "time_limit_s": 600.2,
    }
    return EncodeJob(rendition=rendition(width, height), **{**given, **changes})


def source(width: int = 1920, height: int = 1080, *, bit_depth: int = 8, size_bytes: int = 0) -> Inspection:
    video = VideoStream(
        index=0, codec="h264", width=width, height=height, display_width=width, display_height=height,
        frame_rate="25", duration_s=100.0, pixel_format="yuv420p", bit_depth=bit_depth,
    )  # fmt: skip
    identity = MezzanineIdentity(uri="s3://vault/x", size_bytes=size_bytes, marker="1")
    return Inspection(mezzanine=identity, container="mov", duration_s=100.0, video=video, tool_version="8")


@pytest.mark.parametrize(
    ("size", "cpus"),
    [((256, 144), 1), ((854, 480), 1), ((1280, 720), 2), ((1920, 1080), 4), ((2560, 1440), 8), ((3840, 2160), 8)],
)
def test_larger_pictures_use_more_cpus_up_to_a_point(size: tuple[int, int], cpus: int) -> None:
    assert encode_footprint(job(*size), on_gpu=False).cpus == cpus


def test_beside_a_gpu_two_cpus_are_enough() -> None:
    assert encode_footprint(job(3840, 2160), on_gpu=True).cpus == 2


def test_an_encode_has_room_for_its_output_twice_and_time_to_start_and_to_store() -> None:
    found = encode_footprint(job(), on_gpu=False)

    assert found.memory_mb == 1000 + 384
    assert found.scratch_mb == 2 * 1000 + 512
    assert found.deadline_s == 601 + 900


def test_a_source_of_unknown_size_may_be_as_large_as_any() -> None:
    found = task_footprint(None, None, predictor=PRIOR, max_file_bytes=2048 * 1024**2, time_limit_s=100)

    assert (found.scratch_mb, found.memory_mb, found.deadline_s) == (2048 + 512, 4096, 1000)


def test_deeper_and_larger_sources_need_more_memory() -> None:
    given: dict[str, Any] = {"plan": None, "predictor": PRIOR, "max_file_bytes": 0, "time_limit_s": 1}
    sizes = [source(), source(bit_depth=10), source(3840, 2160), source(3840, 2160, bit_depth=10)]

    memory = [task_footprint(each, **given).memory_mb for each in sizes]

    assert memory == [1362, 1955, 3142, 5515]


def test_finishing_has_room_for_the_source_and_all_renditions_twice() -> None:
    one = job(prediction=predicted(size_bytes=100 * 1024**2))
    plan = Plan(jobs=(one, one), segment_frames=50, frame_rate="25")

    found = task_footprint(source(size_bytes=100 * 1024**2), plan, predictor=PRIOR, max_file_bytes=0, time_limit_s=1)

    # And for 40 pictures to compare with, each with its neighbours, at 1.5 bytes a pixel.
    video = source(size_bytes=1).video
    compared_mb = 40 * 3 * 1.5 * video.width * video.height / 1024**2
    assert found.scratch_mb == math.ceil(100 + 2 * 2 * 100 + compared_mb) + 512
