"""The options of a title's encodes, and which of them a job takes when it starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.cost.features import source_features
from include.domain.cost.prior import PriorPredictor
from include.domain.cost.work import TitleWork
from include.domain.media.media import Analysis, Inspection, MezzanineIdentity, VideoStream
from include.domain.plan.binding import (
    FarmShare,
    bind,
    deadline_notes,
    least_work,
    with_options,
    work_of,
)
from include.domain.plan.decide import decide
from include.domain.plan.degradation import Binding, Option
from include.domain.plan.plan import EncodeJob, EncodeOption, Plan
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment
from include.domain.title.title import Tier
from include.recipes import load_cost_rates, load_ladders, load_presets, load_recipes, load_tiers
from tests.predictions import predicted

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LADDERS, TIERS, RATES, PRESETS = load_ladders(), load_tiers(), load_cost_rates(), load_presets()
PRIOR = load_recipes().prior
PACE = FarmShare(predictor=PRIOR, slots=2, overhead_s=10)


def source(width: int = 1280, height: int = 720, duration_s: float = 60) -> Inspection:
    video = VideoStream(
        index=0, codec="h264", width=width, height=height, display_width=width, display_height=height,
        frame_rate="25", duration_s=duration_s, pixel_format="yuv420p",
    )  # fmt: skip
    return Inspection(
        mezzanine=MezzanineIdentity(uri="file:///x.mov", size_bytes=1, marker="1"), container="mov",
        duration_s=duration_s, video=video, tool_version="9",
    )  # fmt: skip


def planned(
    tier: Tier = Tier.STANDARD, *, gpu: bool = False, farm_share: FarmShare = PACE, codecs: tuple[str, ...] = ("h264",)
) -> tuple[Plan, TitleWork]:
    known, predictor = source_features(source()), farm_share.predictor
    ladders = [LADDERS[codec] for codec in codecs]
    plan = decide(
        source(), Analysis(windows=()), ladders, TIERS[tier], tier=tier.value, ceiling_s=3600, gpu=gpu,
        predictor=predictor,
    )  # fmt: skip
    work = work_of(plan, known, predictor=predictor, policy=TIERS[tier])
    return with_options(plan, work, known, policy=TIERS[tier], presets=PRESETS, farm_share=farm_share), work


def rendition(preset: str) -> Rendition:
    return Rendition(
        name="h264_720p", rung="720p", codec="h264", encoder="libx264", width=1280, height=720, frame_rate="25",
        frames=50, rate_control=CappedCrf(crf=23, maxrate_kbps=100, bufsize_kbps=200),
        treatment=SourceTreatment(), preset=preset, gop_frames=50, core=False,
    )  # fmt: skip


def option(name: str, p50_s: float, loss: float, *, allowed: bool = True) -> EncodeOption:
    return EncodeOption(
        option=Option(name=name, p50_s=p50_s, p90_s=1.5 * p50_s, vmaf_loss=loss, allowed=allowed),
        rendition=None if name == "drop" else rendition(name),
    )


SLOW, FAST, FORBIDDEN, DROP = (
    option("slow", 60, 0),
    option("veryfast", 20, 1.8),
    option("ultrafast", 5, 6, allowed=False),
    option("drop", 0, 12),
)


def job(*options: EncodeOption, after_s: float = 0.0, reserve_s: float = 10.0) -> EncodeJob:
    return EncodeJob(
        name="h264_720p", rendition=rendition("slow"), pool="cpu_encode", prediction=predicted(), time_limit_s=1,
        options=options, after_s=after_s, reserve_s=reserve_s,
    )  # fmt: skip


def bound(one: EncodeJob, left_s: float | None) -> Binding:
    found = bind(one, publish_at=None if left_s is None else NOW + timedelta(seconds=left_s), now=NOW)
    assert found.binding is not None
    return found.binding


@pytest.mark.parametrize(
    ("left_s", "taken", "instead_of", "fit"),
    [
        (None, "slow", None, "safe"),
        (100, "slow", None, "safe"),
        (99, "veryfast", "slow", "safe"),
        (30, "veryfast", "slow", "likely"),
        # Only where no preset is likely to be in time is the rung left out; what the floor forbids never helps.
        (29, "drop", "slow", "safe"),
        (9, "drop", "slow", "late"),
    ],
)
def test_a_job_takes_what_fits_before_the_deadline_with_its_reserve(
    left_s: float | None, taken: str, instead_of: str | None, fit: str
) -> None:
    one = job(SLOW, FAST, FORBIDDEN, DROP)

    binding = bound(one, left_s)

    assert (binding.option, binding.instead_of, binding.fit) == (taken, instead_of, fit)
    assert (binding.degraded, binding.dropped) == (instead_of is not None, taken == "drop")


def test_the_bound_job_encodes_the_rendition_of_its_option_and_a_dropped_one_keeps_its_own() -> None:
    one = job(SLOW, FAST, DROP)

    fast, dropped = (bind(one, publish_at=NOW + timedelta(seconds=left), now=NOW) for left in (50, 0))

    assert (fast.rendition.preset, dropped.rendition.preset) == ("veryfast", "slow")
    assert (fast.made_by("libx264", "veryfast"), fast.made_by(None)) == (rendition("veryfast"), fast.rendition)
    assert one.made_by("libx264", "veryfast").preset == "veryfast"


def test_a_core_rung_is_never_left_out_however_late_it_is() -> None:
    binding = bound(job(SLOW, FAST), -1000)

    assert (binding.option, binding.fit, binding.vmaf_loss) == ("veryfast", "late", 1.8)


def test_jobs_of_one_title_give_up_alike_and_leave_each_other_their_time() -> None:
    # 60 s of its own and 120 s behind it, in 150 s: half of 180 s fits nowhere else.
    alone, first = job(SLOW, FAST), job(SLOW, FAST, after_s=120)

    assert bound(alone, 110).option == "slow"
    assert bound(first, 110).time_left_s == pytest.approx(100 / 3, abs=0.01)
    assert bound(first, 110).option == "veryfast"
    assert bound(job(option("slow", 0, 0), after_s=0), 110).time_left_s == 100


@pytest.mark.parametrize(
    ("one", "left_s", "words"),
    [
        (job(SLOW, FAST), 83, "veryfast instead of slow: costs 1.8 VMAF, saves 40 s; 73 s are left for it"),
        (job(SLOW, FAST, DROP), 0, "left out: costs 12.0 VMAF, saves 60 s, and late all the same; -10 s are left"),
        (job(SLOW), 0, "slow, nothing given up, and late all the same; -10 s are left for it"),
        (job(SLOW), None, "slow, nothing given up"),
    ],
)
def test_a_binding_says_what_it_costs_what_it_saves_and_what_is_left(
    one: EncodeJob, left_s: float | None, words: str
) -> None:
    assert str(bound(one, left_s)).startswith(words)


def test_a_job_without_options_stays_as_it_is() -> None:
    assert bind(job(), publish_at=NOW, now=NOW) == job()


def test_a_plan_gives_each_job_its_presets_and_only_what_is_not_core_may_be_left_out() -> None:
    plan, work = planned()

    assert [[each.option.name for each in job.options if each.option.allowed] for job in plan.jobs] == [
        ["medium", "fast", "veryfast", "superfast", *(() if job.rendition.core else ["drop"])] for job in plan.jobs
    ]
    assert [job.rendition.rung for job in plan.jobs if job.rendition.core] == ["360p", "720p"]
    for job, encode in zip(plan.jobs, work.encodes, strict=True):
        assert job.options[0].rendition == job.rendition
        assert (job.options[0].option.p50_s, job.options[0].option.p90_s) == (encode.p50_s, encode.p90_s)
    assert plan.jobs[-1].after_s == pytest.approx(work.extras.p50_s / 2, abs=0.01)
    assert plan.jobs[0].after_s == pytest.approx(
        (sum(each.p50_s for each in work.encodes[1:]) + work.extras.p50_s) / 2, abs=0.01
    )
    assert {job.reserve_s for job in plan.jobs} == {round(work.finish.p90_s + 10, 3)}


@pytest.mark.parametrize(
    ("tier", "preset", "shift"),
    [(Tier.PREMIUM, "veryfast", -1.5), (Tier.PREMIUM, "fast", 0), (Tier.STANDARD, "superfast", 0),
     (Tier.UGC, "veryfast", 0), (Tier.UGC, "superfast", 0)],
)  # fmt: skip
def test_a_quicker_preset_keeps_the_rate_on_which_its_loss_stands(tier: Tier, preset: str, shift: float) -> None:
    for each in planned(tier)[0].jobs:
        (made,) = (option.rendition for option in each.options if option.option.name == preset)
        assert made is not None
        assert made.rate_control.crf == each.rendition.rate_control.crf + shift
        assert made.maxrate_kbps == each.rendition.maxrate_kbps


def test_jobs_for_gpus_have_no_options() -> None:
    plan, work = planned(Tier.UGC, gpu=True)

    assert {job.options for job in plan.jobs if job.hardware} == {()}
    assert least_work(plan, work) == work


def test_the_least_work_is_that_of_the_core_rungs_by_their_quickest_presets() -> None:
    plan, work = planned()
    least = least_work(plan, work)

    assert len(least.encodes) == 2
    assert least.total.p50_s < work.total.p50_s / 2
    assert (least.prepare, least.finish) == (work.prepare, work.finish)


def test_the_farms_own_speed_counts() -> None:
    slower = FarmShare(predictor=PriorPredictor(rates=RATES, factors={("libx264", "medium"): 3.0}), slots=1)

    slow_s, usual_s = (
        found.jobs[-1].options[0].option.p50_s for found in (planned(farm_share=slower)[0], planned()[0])
    )
    assert slow_s - RATES.start_s == pytest.approx(3 * (usual_s - RATES.start_s))


def test_the_notes_say_laxity_and_what_may_be_given_up() -> None:
    plan, work = planned()

    assert deadline_notes(plan, work, publish_at=None, now=NOW, farm_share=PACE) == []
    roomy, choices = deadline_notes(plan, work, publish_at=NOW + timedelta(hours=1), now=NOW, farm_share=PACE)
    tight, _ = deadline_notes(plan, work, publish_at=NOW, now=NOW, farm_share=PACE)
    assert "s to spare at full quality, in 2 slots" in roomy
    assert "s too few at full quality" in tight
    assert "h264_144p down to superfast (2.3 VMAF) or the rung" in choices
    assert choices.endswith("h264_720p down to superfast (2.3 VMAF).")
    hopeless, _ = planned(Tier.UGC, gpu=True)
    assert deadline_notes(hopeless, work, publish_at=NOW, now=NOW, farm_share=PACE)[1].endswith("may give up: nothing.")


options = st.builds(
    option, st.sampled_from(["fast", "veryfast"]), st.floats(0, 1e5), st.floats(0, 100), allowed=st.booleans()
)


@given(st.lists(options, max_size=5), st.booleans(), st.floats(-1e5, 1e6), st.floats(0, 1e5), st.floats(0, 1e4))
def test_no_job_ever_takes_what_the_floor_forbids(
    given_options: list[EncodeOption], may_drop: bool, left_s: float, after_s: float, reserve_s: float
) -> None:
    one = job(SLOW, *given_options, *([DROP] if may_drop else []), after_s=after_s, reserve_s=reserve_s)

    binding = bound(one, left_s)

    assert [each for each in one.options if each.option.allowed and each.option.name == binding.option]
    assert may_drop or not binding.dropped


@given(st.floats(-1e4, 1e5), st.sampled_from(list(Tier)))
def test_no_encode_of_any_tier_loses_more_than_its_tier_allows(left_s: float, tier: Tier) -> None:
    for one in planned(tier)[0].jobs:
        binding = bound(one, left_s)
        assert binding.vmaf_loss <= TIERS[tier].vmaf_may_lose or (binding.dropped and not one.rendition.core)


@pytest.mark.parametrize("tier", list(Tier))
def test_a_hurried_title_takes_its_quickest_allowed_preset_and_leaves_no_rung_out(tier: Tier) -> None:
    plan, _ = planned(tier)
    due = NOW + timedelta(days=1)

    for job in plan.jobs:
        allowed = [each.option for each in job.options if each.option.allowed and each.rendition is not None]
        calm, hurried = (bind(job, publish_at=due, now=NOW, hurried=each) for each in (False, True))

        assert calm.binding is not None
        assert calm.binding.instead_of is None
        assert hurried.binding is not None
        assert hurried.binding.option == min(allowed, key=lambda each: each.p50_s).name
        assert hurried.binding.fit == "safe"
        assert hurried.rendition.preset == hurried.binding.option
        late = bind(job, publish_at=NOW - timedelta(days=1), now=NOW, hurried=True)
        assert late == bind(job, publish_at=NOW - timedelta(days=1), now=NOW)
