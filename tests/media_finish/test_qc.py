"""Rules of quality control, without any media."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.base.errors import CoreRungMissing
from include.domain.media import sampling
from include.domain.media.alignment import Lag
from include.domain.media.frame_rate import parse_rate
from include.domain.outcome import rules as qc
from include.domain.outcome.results import (
    AudioRendition,
    CheckOutcome,
    Cost,
    QualityScore,
    RenditionVerdict,
    SourceVerdict,
    TrackVerdict,
)
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.recipe.rate_control import CappedCrf
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment
from tests.predictions import predicted

NTSC_FILM = "24000/1001"


def rendition(name: str = "h264_240p", *, core: bool = False) -> Rendition:
    return Rendition(
        name=name,
        rung=name.partition("_")[2],
        codec="h264",
        encoder="libx264",
        width=426,
        height=240,
        frame_rate=NTSC_FILM,
        frames=None,
        rate_control=CappedCrf(crf=23, maxrate_kbps=400, bufsize_kbps=800),
        treatment=SourceTreatment(),
        preset="veryfast",
        gop_frames=48,
        core=core,
    )


def facts(**changes: Any) -> qc.RenditionFacts:
    sound: dict[str, Any] = {
        "width": 426,
        "height": 240,
        "frames": 100,
        "duration_s": 100 * 1001 / 24000,
        "keyframes": (0, 48, 96),
    }
    return qc.RenditionFacts(**{**sound, **changes})


def verdict(name: str, outcome: CheckOutcome, *reasons: str) -> RenditionVerdict:
    return RenditionVerdict(rendition=name, outcome=outcome, reasons=reasons)


def plan_of(*renditions: Rendition) -> Plan:
    jobs = tuple(
        EncodeJob(
            name=each.name, rendition=each, pool="cpu_encode", prediction=predicted(memory_mb=500), time_limit_s=60
        )
        for each in renditions
    )
    return Plan(jobs=jobs, segment_frames=144, frame_rate=NTSC_FILM)


def test_a_sound_rendition_has_no_faults() -> None:
    assert qc.faults(rendition(), facts(), frames=(99, 101)) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decode_errors": ("error while decoding MB 3 4",)}, "does not decode: error while decoding MB 3 4"),
        ({"width": 424}, "is 424x240, ordered were 426x240"),
        ({"frames": 90, "duration_s": 90 * 1001 / 24000, "keyframes": (0, 48)}, "has 90 frames, the mezzanine gives"),
        ({"duration_s": 5.0}, "lasts 5.000 s, its 100 frames last 4.171 s"),
        ({"keyframes": (0, 48)}, "keyframes are not every 48 frames (first difference at frame 96)"),
        ({"keyframes": (0, 20, 48, 96)}, "keyframes are not every 48 frames (first difference at frame 20)"),
        ({"keyframes": ()}, "first difference at frame 0"),
    ],
)
def test_each_fault_is_told_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    found = qc.faults(rendition(), facts(**changes), frames=(99, 101))

    assert len(found) == 1
    assert said in found[0]


def test_a_broken_stream_tells_its_first_errors_only() -> None:
    found = qc.faults(rendition(), facts(decode_errors=tuple("abcdef")), frames=(99, 101))

    assert found == ("does not decode: a", "does not decode: b", "does not decode: c")


@pytest.mark.parametrize(
    ("duration_s", "rate", "expected"),
    [
        (10.0, "25", (249, 251)),
        (14.014, NTSC_FILM, (335, 337)),
        (0.04, "25", (1, 2)),
        # Rounded to microseconds as results are.
        (7200.193, NTSC_FILM, (172631, 172633)),
    ],
)
def test_the_frame_count_follows_from_the_decoded_duration(
    duration_s: float, rate: str, expected: tuple[int, int]
) -> None:
    cost = Cost(wall_s=0, cpu_s=0, peak_memory_mb=0)
    verified = SourceVerdict(checksum="sha256:0", frames=1, duration_s=duration_s, decode_errors=0, cost=cost)

    assert qc.expected_frames(rate, verified) == expected


def test_a_rendition_of_another_length_than_the_rest_is_named() -> None:
    found = qc.unlike_the_others({"a": 100, "b": 99, "c": 100})

    assert found == {"b": "has 99 frames, the other renditions have 100"}
    assert qc.unlike_the_others({}) == {}


FOREIGN = qc.Misplaced(message="does not show the mezzanine's picture at 0.0 s", foreign=True)
LATE = qc.Misplaced(message="its picture comes 0.10 s late at 0.0 s", foreign=False)


@pytest.mark.parametrize(
    ("found", "mean", "faults"),
    [
        # A small picture of a large detailed one: VMAF at the display's size says nothing against it.
        ((), 0.002, ()),
        ((), None, ()),
        ((FOREIGN,), 4.9, (FOREIGN.message,)),
        ((FOREIGN,), None, (FOREIGN.message,)),
        ((FOREIGN,), 60.0, ()),
        ((LATE,), 95.0, (LATE.message,)),
    ],
)
def test_pictures_are_judged_by_their_thumbnails_and_not_by_the_height_of_a_score(
    found: tuple[qc.Misplaced, ...], mean: float | None, faults: tuple[str, ...]
) -> None:
    score = (
        None
        if mean is None
        else QualityScore(harmonic_mean=mean, p1=mean / 2, mean=mean, frames=1, sampled=False, model="m")
    )

    assert qc.picture_faults(found, recognised=qc.recognised([((), None), (found, score)])) == faults


@pytest.mark.parametrize(
    ("lag", "likeness", "said"),
    [
        (None, None, None),
        (None, 0.9, None),
        (Lag(seconds=0.0, correlation=0.99, in_place=0.99), 0.9, None),
        (Lag(seconds=0.2, correlation=0.98, in_place=0.3), 0.9, "its sound comes 0.20 s late at 4.0 s"),
        (Lag(seconds=-0.2, correlation=0.98, in_place=0.3), None, "its sound comes 0.20 s early at 4.0 s"),
        # Slow motion resembles itself a moment later; a bad copy resembles nothing well.
        (Lag(seconds=0.2, correlation=0.99, in_place=0.97), 0.9, None),
        (Lag(seconds=0.2, correlation=0.6, in_place=0.4), 0.9, None),
        (None, 0.2, "does not have the mezzanine's sound at 4.0 s"),
        (Lag(seconds=0.2, correlation=0.2, in_place=0.1), None, "does not have the mezzanine's sound at 4.0 s"),
        # The right scene, and none of its motion: frozen, or backwards.
        (Lag(seconds=0.2, correlation=0.2, in_place=0.1), 0.9, "does not have the mezzanine's sound at 4.0 s"),
    ],
)
def test_an_excerpt_says_whether_it_is_another_or_elsewhere(
    lag: Lag | None, likeness: float | None, said: str | None
) -> None:
    found = qc.misplaced(lag, likeness, what="sound", at_s=4.0)

    assert (found.message if found else None) == said


@pytest.mark.parametrize(("samples", "faults"), [(480_000, 0), (481_024, 0), (481_025, 1), (478_975, 1), (960_000, 1)])
def test_samples_are_counted_to_one_frame_of_aac(samples: int, faults: int) -> None:
    assert len(qc.sample_faults(samples, duration_s=10.0)) == faults


def heard(name: str, outcome: CheckOutcome) -> TrackVerdict:
    cost = Cost(wall_s=0, cpu_s=0, peak_memory_mb=0)
    return TrackVerdict(track=name, outcome=outcome, reasons=("is late",), samples=1, check_cost=cost)


def test_a_title_does_not_go_out_without_its_main_sound() -> None:
    tracks = [track(default=True), track(name="aac_en_surround", default=True), track(name="aac_de_stereo")]
    good, bad = CheckOutcome.PASS, CheckOutcome.FAIL

    def concluded(*outcomes: CheckOutcome) -> bool:
        verdicts = [heard(each.name, outcome) for each, outcome in zip(tracks, outcomes, strict=True)]
        return qc.withhold(tracks, verdicts)

    assert concluded(good, good, good) is False
    assert concluded(good, good, bad) is True
    assert concluded(bad, good, good) is True
    with pytest.raises(CoreRungMissing, match="aac_en_stereo is late; aac_en_surround is late") as caught:
        concluded(bad, bad, good)
    assert caught.value.reason == "main_sound_missing"
    assert qc.withhold([], []) is False


def test_a_version_with_more_channels_stays_back_with_its_own_stereo_alone() -> None:
    tracks = [
        track(default=True), track(name="aac_en_surround", channels=6), track(name="aac_de_stereo", sound="de"),
        track(name="aac_de_surround", sound="de", channels=6),
    ]  # fmt: skip
    good, bad = CheckOutcome.PASS, CheckOutcome.FAIL

    def concluded(*outcomes: CheckOutcome) -> list[CheckOutcome]:
        verdicts = [heard(each.name, outcome) for each, outcome in zip(tracks, outcomes, strict=True)]
        found = qc.with_their_stereo(tracks, verdicts)
        assert [each.track for each in found] == [each.name for each in tracks]
        own = [each for each, before in zip(found, verdicts, strict=True) if each is not before]
        assert all(each.reasons == ("the stereo version of this sound failed its checks",) for each in own)
        return [each.outcome for each in found]

    assert concluded(good, good, good, good) == [good, good, good, good]
    assert concluded(bad, good, good, good) == [bad, bad, good, good]
    assert concluded(good, bad, good, good) == [good, bad, good, good]
    assert concluded(good, good, bad, bad) == [good, good, bad, bad]


def test_scores_are_told_to_a_thousandth() -> None:
    score = qc.pool([100 / 3, 100 / 3], sampled=True, model="m")

    assert score is not None
    assert (score.harmonic_mean, score.p1, score.mean) == (33.333, 33.333, 33.333)


def track(**changes: Any) -> AudioRendition:
    sound: dict[str, Any] = {
        "name": "aac_en_stereo",
        "uri": "audio/aac_en_stereo.mp4",
        "streams": (1,),
        "sound": "en",
        "codec": "aac",
        "channels": 2,
        "language": "en",
        "label": "English",
        "bitrate_kbps": 128,
        "duration_s": 10.0,
        "loudness_lufs": -23.2,
        "true_peak_dbtp": -3.0,
    }
    return AudioRendition(**{**sound, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"duration_s": 10.09}, []),
        ({"duration_s": 9.5}, ["aac_en_stereo: lasts 9.50 s, the video 10.00 s"]),
        ({"loudness_lufs": None}, ["aac_en_stereo: no loudness to measure (silent, or too short)"]),
        ({"loudness_lufs": -22.1}, []),
        ({"loudness_lufs": -21.9}, ["aac_en_stereo: loudness is -21.9 LUFS, the target -23.0"]),
        ({"loudness_lufs": -24.1}, ["aac_en_stereo: loudness is -24.1 LUFS, the target -23.0"]),
        ({"true_peak_dbtp": -0.5}, []),
        ({"loudness_lufs": -19.0}, ["aac_en_stereo: loudness is -19.0 LUFS, the target -23.0"]),
        ({"true_peak_dbtp": -0.6}, []),
        ({"true_peak_dbtp": -0.4}, ["aac_en_stereo: true peak is -0.4 dBTP, the ceiling -1.0"]),
        ({"true_peak_dbtp": 0.2}, ["aac_en_stereo: true peak is 0.2 dBTP, the ceiling -1.0"]),
        ({"true_peak_dbtp": None}, []),
    ],
)
def test_findings_on_audio(changes: dict[str, Any], said: list[str]) -> None:
    found = qc.audio_faults(track(**changes), video_s=10.0, target_lufs=-23.0, ceiling_dbtp=-1.0)

    assert list(found) == said


@pytest.mark.parametrize(
    ("duration_s", "every_s", "most", "rate", "expected"),
    [
        pytest.param(10.0, 0.5, 40, "25", range(0, 250, 12), id="as often as the tier asks"),
        pytest.param(600.0, 0.5, 40, "25", range(0, 15_000, 375), id="a long title: as many as the tier asks"),
        pytest.param(2.0, 2.0, 10, "25", range(0, 50, 12), id="a short one: a few"),
        pytest.param(0.4, 2.0, 10, "25", range(10), id="a very short one: all"),
        pytest.param(0.04, 2.0, 10, "25", range(1), id="one frame"),
        pytest.param(10.0, 1.0, 20, NTSC_FILM, range(0, 240, 24), id="a fractional rate"),
    ],
)
def test_as_many_frames_are_compared_as_the_tier_asks_all_over_the_title(
    duration_s: float, every_s: float, most: int, rate: str, expected: range
) -> None:
    frames = sampling.compared_frames(duration_s, every_s=every_s, most=most, fps=parse_rate(rate))

    assert frames.positions == expected
    assert len(frames.positions) <= max(most, 12)


@given(total=st.integers(1, 400), every=st.integers(1, 90))
def test_each_compared_frame_is_seen_between_its_neighbours_and_counted_once(total: int, every: int) -> None:
    frames = sampling.ComparedFrames(total=total, every=every)

    seen = [number for position in frames.positions for number in frames.seen(position)]
    assert all(0 <= number < total for number in seen)
    assert set(frames.positions) <= set(seen)
    if frames.neighbours:
        assert len(seen) == len(set(seen)) == frames.count
        # libvmaf looks at each third picture that it gets.
        assert seen[:: sampling.TOGETHER] == list(frames.positions)
    else:
        assert frames.count == len(frames.positions) == total


@pytest.mark.parametrize(("duration_s", "whole"), [(20.0, True), (20.1, False), (5.0, True)])
def test_a_suspicious_rendition_is_compared_frame_by_frame_in_windows_of_a_long_title(
    duration_s: float, whole: bool
) -> None:
    assert (sampling.comparison_windows(duration_s, frame_rate="25") is None) == whole


@given(duration_s=st.floats(20.5, 20_000), rate=st.sampled_from(["25", NTSC_FILM, "60000/1001", "15"]))
def test_windows_lie_within_the_title_in_order_and_start_on_frames(duration_s: float, rate: str) -> None:
    windows = sampling.comparison_windows(duration_s, frame_rate=rate)

    assert windows is not None
    assert len(windows) == sampling.WINDOWS
    ends = [window.start_s + window.duration_s for window in windows]
    assert all(earlier <= later.start_s + 0.1 for earlier, later in zip(ends, windows[1:], strict=False))
    assert windows[0].start_s >= 0
    assert ends[-1] <= duration_s
    numerator, _, denominator = rate.partition("/")
    for window in windows:
        frame = window.start_s * int(numerator) / int(denominator or 1)
        assert frame == pytest.approx(round(frame), abs=1e-6)


def test_scores_are_pooled_by_harmonic_mean_and_first_percentile() -> None:
    score = qc.pool([90.0] * 98 + [20.0, 10.0], sampled=True, model="vmaf_v0.6.1")

    assert score is not None
    assert score.mean == pytest.approx(88.5)
    assert score.harmonic_mean == pytest.approx(100 / (98 / 91 + 1 / 21 + 1 / 11) - 1, abs=1e-3)
    assert score.p1 == 10.0
    assert (score.frames, score.sampled, score.model) == (100, True, "vmaf_v0.6.1")


@pytest.mark.parametrize("scores", [[], [math.nan, 90.0], [math.inf]])
def test_what_was_not_measured_is_none_and_never_a_number(scores: list[float]) -> None:
    assert qc.pool(scores, sampled=False, model="vmaf_v0.6.1") is None


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_the_harmonic_mean_lies_between_the_worst_frame_and_the_mean(scores: list[float]) -> None:
    score = qc.pool(scores, sampled=False, model="m")

    assert score is not None
    assert min(scores) - 0.001 <= score.harmonic_mean <= score.mean + 0.002
    assert min(scores) - 0.001 <= score.p1


@pytest.mark.parametrize(
    ("size", "model"),
    [
        ((3840, 2160), "vmaf_4k_v0.6.1"),
        ((2160, 3840), "vmaf_4k_v0.6.1"),
        ((1920, 1080), "vmaf_v0.6.1"),
        ((3840, 1600), "vmaf_v0.6.1"),
    ],
)
def test_the_model_fits_the_display_size(size: tuple[int, int], model: str) -> None:
    assert qc.vmaf_model(*size) == model


def test_all_renditions_passed_is_not_degraded() -> None:
    decision = plan_of(rendition("h264_144p", core=True), rendition("h264_240p"))
    verdicts = [verdict("h264_144p", CheckOutcome.PASS), verdict("h264_240p", CheckOutcome.PASS)]

    assert qc.conclude(decision, verdicts) is False


@pytest.mark.parametrize("outcome", [CheckOutcome.FAIL, CheckOutcome.MISSING])
def test_a_title_without_a_rendition_that_is_not_core_is_degraded(outcome: CheckOutcome) -> None:
    decision = plan_of(rendition("h264_144p", core=True), rendition("h264_240p"))
    verdicts = [verdict("h264_144p", CheckOutcome.PASS), verdict("h264_240p", outcome)]

    assert qc.conclude(decision, verdicts) is True


@pytest.mark.parametrize("outcome", [CheckOutcome.FAIL, CheckOutcome.MISSING])
def test_a_missing_core_rendition_stops_the_title_and_is_named_with_its_reasons(outcome: CheckOutcome) -> None:
    decision = plan_of(rendition("h264_144p", core=True), rendition("h264_240p"))
    verdicts = [verdict("h264_144p", outcome, "has 3 frames", "is green"), verdict("h264_240p", CheckOutcome.PASS)]

    with pytest.raises(CoreRungMissing, match="h264_144p has 3 frames and is green") as caught:
        qc.conclude(decision, verdicts)

    assert caught.value.reason == "core_rung_missing"


def test_a_title_without_any_rendition_does_not_go_out() -> None:
    decision = plan_of(rendition("h264_144p"))

    with pytest.raises(CoreRungMissing, match="no rendition passed"):
        qc.conclude(decision, [verdict("h264_144p", CheckOutcome.FAIL)])


def test_a_rendition_that_is_right_but_for_a_while_is_not_recognised() -> None:
    score = QualityScore(harmonic_mean=20, p1=0.0, mean=85, frames=100, sampled=False, model="m")

    assert qc.recognised([((FOREIGN,), score)]) is False
    assert qc.recognised([((LATE,), score.model_copy(update={"p1": 50.0}))]) is False
    assert qc.recognised([((FOREIGN,), score.model_copy(update={"p1": 50.0}))]) is True
