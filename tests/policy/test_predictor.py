"""What a predictor answers, the prior's answers, and that any other predictor may stand in its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from include.domain.cost.features import EncodeFeatures, TitleFeatures, source_features
from include.domain.cost.forecast import Forecast
from include.domain.cost.predictor import Prediction, Predictor, Quantiles, TaskPrediction, TitleTasks
from include.domain.cost.work import expected_title, title_works
from include.domain.media.media import Analysis
from include.domain.plan.binding import work_of
from include.domain.plan.decide import decide
from include.domain.plan.footprint import encode_footprint, task_footprint
from include.domain.title.title import Tier
from include.recipes import load_ladders, load_recipes, load_tiers
from tests.policy.test_binding import planned, source
from tests.policy.test_prior import HD, features
from tests.predictions import predicted

PRIOR, H264, TIERS = load_recipes().prior, load_ladders()["h264"], load_tiers()


class Learned(Predictor):
    """Stands for a model: it knows medians and spreads, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict_many(self, features: Sequence[EncodeFeatures]) -> list[Prediction]:
        self.asked.append(len(features))
        return [
            Prediction(
                cpu_s=Forecast(p50_s=10, p90_s=20),
                memory_mb=Quantiles(p50=300, p90=400.5),
                size_bytes=Quantiles(p50=1024**2, p90=2 * 1024**2),
                limit_s=50,
                source="model-7",
            )
            for _ in features
        ]

    def predict_tasks(self, titles: Sequence[TitleFeatures]) -> list[TitleTasks]:
        def task(seconds: float) -> TaskPrediction:
            return TaskPrediction(
                cpu_s=Forecast(p50_s=seconds, p90_s=seconds), memory_mb=Quantiles(p50=1, p90=100 * seconds)
            )

        return [TitleTasks(prepare=task(1), extras=task(3), finish=task(2)) for _ in titles]

    def preset_times(self, features: EncodeFeatures, presets: Sequence[str]) -> list[float | None]:
        return [1.0 for _ in presets]


def test_many_predictions_are_those_of_each() -> None:
    encodes = [features(preset=preset) for preset in ("slow", "veryfast")]

    assert PRIOR.predict_many(encodes) == [PRIOR.predict(encode) for encode in encodes]
    assert {each.source for each in PRIOR.predict_many(encodes)} == {"prior"}


@pytest.mark.parametrize(
    ("changes", "memory_mb"),
    [
        # 90 frames of 640×360 and 40 of 1280×720, at 1.5 bytes a pixel, over a base of 256 MB.
        ({}, 256 + 83),
        ({"source_bit_depth": 10}, 256 + 136),
        ({"tone_map": True}, 256 + 452),
        ({"encoder": "h264_nvenc", "preset": "p5"}, 256 + 83 + 512),
    ],
    ids=["8 bit", "10 bit", "tone map", "hardware"],
)
def test_memory_is_that_of_the_frames_that_are_held(changes: dict[str, Any], memory_mb: int) -> None:
    assert PRIOR.predict(features(**changes)).memory_mb == Quantiles(p50=memory_mb, p90=memory_mb)


def test_a_rendition_is_no_larger_than_its_cap_and_of_unknown_size_without_one() -> None:
    assert PRIOR.predict(features(maxrate_kbps=1000)).size_bytes.p90 == 1000 * 60 * 128
    assert PRIOR.predict(features()).size_bytes.p90 == 0


def test_an_encode_hangs_when_it_is_slower_than_any_work() -> None:
    seconds = 300 + 1500 * (640 * 360 + 1280 * 720) / 4e6

    assert PRIOR.predict(features()).limit_s == pytest.approx(seconds)
    assert PRIOR.predict(features(codec="vp9", encoder="libvpx-vp9", preset="4")).limit_s > seconds


def test_times_of_presets_are_compared_by_the_rates_alone() -> None:
    own, faster, unknown = PRIOR.preset_times(features(), ["medium", "veryfast", "placebo"])

    assert own == 1
    assert faster is not None
    assert 0.3 < faster < 0.7
    assert unknown is None


def test_quantiles_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValidationError, match="p90 1 is below p50 2"):
        Quantiles(p50=2, p90=1)


def test_room_for_another_form_changes_nothing_of_the_work() -> None:
    small, large = predicted(memory_mb=5, size_bytes=9), predicted(memory_mb=7, size_bytes=8, cpu_s=3)

    both = small.with_room_for(large)

    assert (both.memory_mb.p90, both.size_bytes.p90, both.cpu_s) == (7, 9, small.cpu_s)


def test_a_job_carries_what_was_predicted_of_it() -> None:
    plan, work = planned()

    for job, encode, expected in zip(plan.jobs, work.encodes, plan.features(source_features(source())), strict=True):
        assert job.prediction == PRIOR.predict(expected)
        assert (job.prediction.cpu_s, job.prediction.source) == (encode, "prior")


def test_a_job_for_a_gpu_has_room_for_either_encoder_and_the_work_of_the_software_one() -> None:
    (cpu, gpu) = (planned(Tier.UGC, gpu=gpu)[0].jobs[-1] for gpu in (False, True))

    assert gpu.hardware is not None
    assert gpu.prediction.memory_mb.p90 == cpu.prediction.memory_mb.p90 + 512
    assert (gpu.prediction.cpu_s, gpu.time_limit_s) == (cpu.prediction.cpu_s, cpu.time_limit_s)


def test_a_predictor_is_asked_once_for_all_titles() -> None:
    learned = Learned()
    titles = [expected_title(HD, [H264], TIERS[tier]) for tier in (Tier.UGC, Tier.PREMIUM)]

    works = title_works(titles, learned)

    assert learned.asked == [sum(len(title.encodes) for title in titles)]
    assert [len(work.encodes) for work in works] == [len(title.encodes) for title in titles]


def test_plan_work_and_pods_go_by_whatever_predictor_there_is() -> None:
    plan = decide(
        source(), Analysis(windows=()), [H264], TIERS[Tier.STANDARD], tier="standard", ceiling_s=40, gpu=False,
        predictor=Learned(),
    )  # fmt: skip

    work = work_of(plan, source_features(source()), predictor=Learned(), policy=TIERS[Tier.STANDARD])
    pod = encode_footprint(plan.jobs[0], on_gpu=False)
    other = task_footprint(source(), plan, predictor=Learned(), max_file_bytes=0, time_limit_s=1)

    assert {job.prediction.source for job in plan.jobs} == {"model-7"}
    assert {job.time_limit_s for job in plan.jobs} == {40}
    assert (work.encodes[0].p90_s, work.extras.p50_s) == (20, 3)
    # What the worker itself needs comes on top, and a file is twice in scratch.
    assert (pod.memory_mb, pod.scratch_mb) == (401 + 384, 4 + 512)
    # Any of the title's other tasks has room in the pod.
    compared_mb = 180 * source().video.width * source().video.height / 1024**2
    assert (other.memory_mb, other.scratch_mb) == (
        300 + 2 * 384,
        math.ceil(1 + 4 * len(plan.jobs) + compared_mb) + 512,
    )
