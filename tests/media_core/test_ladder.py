from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.domain.media.frame_rate import STANDARD_RATES
from include.domain.plan.decide import decide
from include.domain.plan.plan import Plan
from include.domain.recipe.rate_control import NvencCq
from include.domain.recipe.rungs import NEARLY_SOURCE, cut_ladder, output_frame_rate
from include.domain.recipe.tiers import TierPolicy
from include.domain.recipe.treatment import SourceTreatment, sdr_treatment
from include.domain.title.title import Tier
from include.recipes import load_ladders, load_recipes, load_tiers
from tests.media_core.samples import analysis, inspection, video

LADDERS = load_ladders()
TIERS = load_tiers()
H264 = LADDERS["h264"].rungs


def plan(
    *,
    tier: Tier = Tier.STANDARD,
    codecs: tuple[str, ...] = ("h264",),
    ceiling_s: float = 1e9,
    gpu: bool = False,
    policy: TierPolicy | None = None,
    **source: object,
) -> Plan:
    combed = bool(source.pop("combed", False))
    return decide(
        inspection(**source),
        analysis(interlaced=combed),
        [LADDERS[codec] for codec in codecs],
        policy or TIERS[tier],
        tier=tier.value,
        ceiling_s=ceiling_s,
        gpu=gpu,
        predictor=load_recipes().prior,
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1920, 1080), "144p 256x144, 240p 426x240, 360p 640x360, 480p 854x480, 720p 1280x720, 1080p 1920x1080"),
        ((640, 272), "144p 256x108, 240p 426x182, 360p 640x272"),
        ((1080, 1920), "144p 144x256, 240p 240x426, 360p 360x640, 480p 480x854, 720p 720x1280, 1080p 1080x1920"),
        ((1300, 731), "144p 256x144, 240p 426x240, 360p 640x360, 480p 854x480, 720p 1300x730"),
        ((1000, 562), "144p 256x144, 240p 426x240, 360p 640x360, 480p 854x480, 720p 1000x562"),
        ((176, 144), "144p 176x144"),
        ((63, 47), "144p 62x46"),
        ((1, 1), "144p 2x2"),
    ],
)
def test_a_ladder_is_cut_to_what_the_source_shows(size: tuple[int, int], expected: str) -> None:
    cuts = cut_ladder(H264, width=size[0], height=size[1])

    assert expected == ", ".join(f"{cut.rung.name} {cut.width}x{cut.height}" for cut in cuts)


def test_a_source_beyond_the_largest_box_is_reduced_to_it() -> None:
    top = cut_ladder(H264, width=8192, height=4320)[-1]

    assert (top.rung.name, top.width, top.height) == ("2160p", 3840, 2024)


@given(width=st.integers(2, 8192), height=st.integers(2, 8192))
def test_every_cut_is_even_distinct_ordered_and_never_enlarged(width: int, height: int) -> None:
    cuts = cut_ladder(H264, width=width, height=height)

    assert cuts
    assert all(cut.width % 2 == 0 and cut.height % 2 == 0 for cut in cuts)
    assert all(2 <= cut.width <= width and 2 <= cut.height <= height for cut in cuts)
    sizes = [(cut.width, cut.height) for cut in cuts]
    assert len(set(sizes)) == len(sizes)
    assert [cut.pixels for cut in cuts] == sorted(cut.pixels for cut in cuts)


@given(width=st.integers(200, 8192), height=st.integers(200, 8192))
def test_the_shape_of_the_picture_stays_within_a_rounding_of_one_pixel(width: int, height: int) -> None:
    for cut in cut_ladder(H264, width=width, height=height):
        exact = cut.width * height / width
        other = cut.height * width / height
        assert abs(cut.height - exact) <= 2 or abs(cut.width - other) <= 2


@given(width=st.integers(16, 3840), height=st.integers(16, 2160))
def test_the_top_rung_is_the_source_itself_where_it_fits_the_largest_box(width: int, height: int) -> None:
    if width < height:
        width, height = height, width
    top = cut_ladder(H264, width=width, height=height)[-1]

    assert (width - width % 2, height - height % 2) == (top.width, top.height)


@given(width=st.integers(300, 3840), height=st.integers(200, 2160))
def test_no_two_rungs_look_the_same(width: int, height: int) -> None:
    cuts = cut_ladder(H264, width=width, height=height)

    for lower, upper in itertools.pairwise(cuts):
        assert upper.pixels > NEARLY_SOURCE * lower.pixels * 0.9


@pytest.mark.parametrize(
    ("rate", "variable", "expected"),
    [
        ("25", False, "25"),
        ("24000/1001", False, "24000/1001"),
        ("2997/100", False, "30000/1001"),
        ("23976/1000", False, "24000/1001"),
        ("25/2", False, "25/2"),
        ("60", False, "60"),
        ("810000/13487", False, "60"),
        ("120", False, "60"),
        ("120000/1001", False, "60000/1001"),
        ("100", False, "50"),
        ("240", False, "60"),
        ("144", False, "48"),
        ("1187/40", True, "30000/1001"),
        ("301/10", True, "30000/1001"),
        ("33", True, "48"),
        ("3", True, "5"),
        ("90", True, "45"),
        ("1", False, "1"),
    ],
)
def test_every_source_gets_an_exact_constant_rate_of_at_most_sixty(rate: str, variable: bool, expected: str) -> None:
    assert Fraction(expected) == output_frame_rate(video(frame_rate=rate, variable_frame_rate=variable))


@given(rate=st.fractions(min_value=Fraction(1, 10), max_value=480), variable=st.booleans())
def test_no_rate_is_above_sixty_and_standard_rates_stay(rate: Fraction, variable: bool) -> None:
    result = output_frame_rate(video(frame_rate=str(rate), variable_frame_rate=variable))

    assert 0 < result <= 60
    if rate in STANDARD_RATES:
        assert rate == result


@pytest.mark.parametrize(
    ("rate", "gop", "segment"),
    [
        ("24000/1001", 48, 144),
        ("25", 50, 150),
        ("30000/1001", 60, 180),
        ("60", 120, 360),
        ("25/2", 25, 75),
        ("1/10", 1, 3),
    ],
)
def test_gops_and_segments_are_whole_frames(rate: str, gop: int, segment: int) -> None:
    made = plan(frame_rate=rate)

    assert {gop} == {each.gop_frames for each in made.renditions}
    assert segment == made.segment_frames


@pytest.mark.parametrize(
    ("tier", "size", "core"),
    [
        (Tier.PREMIUM, (1920, 1080), ["360p", "720p", "1080p"]),
        (Tier.PREMIUM, (1280, 720), ["360p", "720p"]),
        (Tier.STANDARD, (1920, 1080), ["360p", "720p"]),
        (Tier.UGC, (1920, 1080), ["360p"]),
        (Tier.PREMIUM, (320, 180), ["144p"]),
    ],
)
def test_the_tier_says_which_rungs_are_core_and_the_lowest_is_where_none_is_left(
    tier: Tier, size: tuple[int, int], core: list[str]
) -> None:
    made = plan(tier=tier, width=size[0], height=size[1])

    assert core == [each.rung for each in made.renditions if each.core]


def test_only_the_first_codec_has_core_rungs_and_jobs_come_lowest_first() -> None:
    made = plan(codecs=("h264", "vp9"), width=640, height=360)

    assert [job.name for job in made.jobs] == [
        "h264_144p",
        "vp9_144p",
        "h264_240p",
        "vp9_240p",
        "h264_360p",
        "vp9_360p",
    ]
    assert {"h264"} == {each.codec for each in made.renditions if each.core}
    assert {"high", None} == {each.profile for each in made.renditions}


def test_the_tier_changes_quality_and_preset() -> None:
    premium, ugc = (plan(tier=tier).renditions[-1] for tier in (Tier.PREMIUM, Tier.UGC))

    assert premium.rate_control.crf < ugc.rate_control.crf
    assert (premium.preset, ugc.preset) == ("slow", "veryfast")


def test_a_high_rate_gets_half_as_many_bits_again_and_a_small_picture_fewer() -> None:
    plain, fast = plan().renditions[-1], plan(frame_rate="50").renditions[-1]
    narrow = plan(width=1920, height=800).renditions[-1]

    assert round(plain.maxrate_kbps * 1.5) == fast.maxrate_kbps
    assert narrow.maxrate_kbps < plain.maxrate_kbps
    assert round(plain.maxrate_kbps * 1.5) == plain.rate_control.bufsize_kbps


def test_limits_grow_with_the_pixels_and_end_at_the_ceiling() -> None:
    jobs = plan().jobs

    assert [job.prediction.memory_mb.p90 for job in jobs] == sorted(job.prediction.memory_mb.p90 for job in jobs)
    assert [job.time_limit_s for job in jobs] == sorted(job.time_limit_s for job in jobs)
    assert {400.0} >= {job.time_limit_s for job in plan(duration_s=9000.0, ceiling_s=400.0).jobs}
    assert {"cpu_encode"} == {job.pool for job in jobs}


@pytest.mark.parametrize(
    ("source", "frames"),
    [
        ({"frames": 250}, 250),
        ({"frames": None}, 250),
        ({"frames": 251}, 250),
        ({"frames": 250, "variable_frame_rate": True}, 250),
        ({"frames": 1000, "frame_rate": "100"}, 500),
    ],
)
def test_the_number_of_frames_follows_from_the_length_of_the_title(source: dict[str, object], frames: int) -> None:
    assert {frames} == {each.frames for each in plan(**source).renditions}


def test_combing_and_hdr_are_treated_and_the_notes_say_why() -> None:
    made = plan(combed=True, color_transfer="smpte2084", bit_depth=10, width=8000, height=4000)
    notes = " ".join(made.notes)

    assert all(rendition.treatment.deinterlace for rendition in made.renditions)
    assert all(rendition.treatment.tone_map for rendition in made.renditions)
    for words in ("deinterlaced", "smpte2084", "reduced", "core rungs h264_360p, h264_720p", "8000×4000"):
        assert words in notes


def test_where_the_tier_asks_each_field_becomes_a_picture_and_the_notes_say_so() -> None:
    fields = TIERS[Tier.STANDARD].model_copy(update={"field_pictures": True})
    made = plan(combed=True, policy=fields)

    assert made.frame_rate == "50"
    assert "Each of its fields becomes a picture." in made.notes
    assert "Each of its fields becomes a picture." not in plan(combed=True).notes


@pytest.mark.parametrize(("width", "height", "reduced"), [(1920, 1080, False), (1918, 1080, False), (7680, 4320, True)])
def test_the_notes_say_that_a_source_is_reduced_where_it_is(width: int, height: int, reduced: bool) -> None:
    notes = plan(width=width, height=height).notes

    assert ("The source is larger than the largest rung and is reduced to it." in notes) is reduced


def test_the_notes_tell_a_changed_rate_and_a_tiny_source() -> None:
    notes = " ".join(plan(width=100, height=60, frame_rate="120").notes)

    assert "120 fps becomes a constant 60 fps" in notes
    assert "one rung at its own size" in notes
    assert "variable rate" in " ".join(plan(frame_rate="29", variable_frame_rate=True).notes)


def test_tone_mapping_asks_for_more_memory() -> None:
    assert (
        plan(color_transfer="arib-std-b67").jobs[0].prediction.memory_mb.p90
        > plan(bit_depth=10).jobs[0].prediction.memory_mb.p90
        > plan().jobs[0].prediction.memory_mb.p90
    )


@pytest.mark.parametrize(
    ("tier", "gpu", "size", "pools"),
    [
        (
            Tier.UGC,
            True,
            (640, 360),
            "h264_144p gpu, vp9_144p cpu, h264_240p gpu, vp9_240p cpu, h264_360p gpu, vp9_360p cpu",
        ),
        (
            Tier.UGC,
            True,
            (360, 640),
            "h264_144p cpu, vp9_144p cpu, h264_240p gpu, vp9_240p cpu, h264_360p gpu, vp9_360p cpu",
        ),
        (Tier.UGC, True, (200, 48), "h264_144p cpu, vp9_144p cpu"),
        (Tier.UGC, False, (256, 144), "h264_144p cpu, vp9_144p cpu"),
        (Tier.STANDARD, True, (256, 144), "h264_144p cpu, vp9_144p cpu"),
        (Tier.PREMIUM, True, (256, 144), "h264_144p cpu, vp9_144p cpu"),
    ],
)
def test_gpus_get_what_the_tier_the_codec_and_the_size_allow(
    tier: Tier, gpu: bool, size: tuple[int, int], pools: str
) -> None:
    made = plan(tier=tier, gpu=gpu, codecs=("h264", "vp9"), width=size[0], height=size[1])

    assert pools == ", ".join(f"{job.name} {job.pool.removesuffix('_encode')}" for job in made.jobs)
    assert all((job.hardware is not None) == (job.pool == "gpu_encode") for job in made.jobs)


def test_the_hardware_form_is_the_same_rendition_by_another_encoder() -> None:
    job = plan(tier=Tier.UGC, gpu=True).jobs[-1]

    assert job.hardware is not None
    changed = {name for name, value in job.hardware if value != getattr(job.rendition, name)}
    assert changed == {"encoder", "preset", "tune", "rate_control"}
    assert job.hardware.rate_control == NvencCq.like(job.rendition.rate_control)
    assert (job.hardware.encoder, job.hardware.preset) == ("h264_nvenc", TIERS[Tier.UGC].hardware["h264"])
    assert job.hardware.recipe_hash != job.rendition.recipe_hash
    assert [job.made_by(name) for name in ("h264_nvenc", "libx264", None)] == [
        job.hardware,
        job.rendition,
        job.rendition,
    ]


def test_the_limits_of_a_hardware_job_hold_for_the_software_encoder_too() -> None:
    gpu, cpu = (plan(tier=Tier.UGC, gpu=each).jobs[-1] for each in (True, False))

    assert (gpu.time_limit_s, gpu.prediction.memory_mb.p90 > cpu.prediction.memory_mb.p90) == (cpu.time_limit_s, True)


@pytest.mark.parametrize(
    ("tier", "gpu", "words"),
    [
        (Tier.UGC, True, "Tier ugc allows hardware: h264_144p on GPUs by h264_nvenc (p5) where that works."),
        (Tier.UGC, True, "On CPUs, as NVENC has no such codec or size: vp9_144p."),
        (Tier.PREMIUM, True, "Tier premium allows no hardware encoder"),
        (Tier.UGC, False, ""),
    ],
)
def test_the_notes_say_who_encodes_and_why(tier: Tier, gpu: bool, words: str) -> None:
    notes = " ".join(plan(tier=tier, gpu=gpu, codecs=("h264", "vp9"), width=256, height=144).notes)

    assert words in notes
    assert ("GPU" in notes) == gpu


@pytest.mark.parametrize(
    ("rate", "treatment", "expected"),
    [
        ("30000/1001", SourceTreatment(inverse_telecine=True), "24000/1001"),
        ("30", SourceTreatment(inverse_telecine=True), "24"),
        ("2997/100", SourceTreatment(inverse_telecine=True), "24000/1001"),
        ("25", SourceTreatment(deinterlace=True), "25"),
        ("25", SourceTreatment(deinterlace=True, field_pictures=True), "50"),
        ("30000/1001", SourceTreatment(deinterlace=True, field_pictures=True), "60000/1001"),
    ],
)
def test_film_in_fields_and_pictures_of_fields_have_exact_rates(
    rate: str, treatment: SourceTreatment, expected: str
) -> None:
    assert Fraction(expected) == output_frame_rate(video(frame_rate=rate), treatment)


def test_the_rate_that_motion_needs_counts_and_not_the_average() -> None:
    burst = video(frame_rate="64/5", variable_frame_rate=True, motion_rate="60")

    assert output_frame_rate(burst) == 60
    assert output_frame_rate(burst.model_copy(update={"motion_rate": "120000/1001"})) == Fraction(60000, 1001)


@pytest.mark.parametrize(
    ("found", "fields", "expected"),
    [
        ({"interlaced": True}, False, (True, False, False)),
        ({"interlaced": True}, True, (True, True, False)),
        ({"interlaced": True, "pulled_down": True}, True, (False, False, True)),
        ({"pulled_down": True, "top_field_first": False}, False, (False, False, True)),
        ({}, True, (False, False, False)),
    ],
)
def test_a_tier_may_ask_for_a_picture_of_each_field_but_film_is_put_together(
    found: dict[str, Any], fields: bool, expected: tuple[bool, bool, bool]
) -> None:
    made = sdr_treatment(video(), analysis(**found), field_pictures=fields)

    assert expected == (made.deinterlace, made.field_pictures, made.inverse_telecine)
    assert made.top_field_first is (found.get("top_field_first") is not False)


def test_no_more_than_sixty_fields_a_second_become_pictures() -> None:
    assert not sdr_treatment(video(frame_rate="50"), analysis(interlaced=True), field_pictures=True).field_pictures
