"""The stage ``check`` on renditions that are good, bad and missing."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from include.adapters import vmaf
from include.adapters.ffmpeg import following
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.mezzanine import open_mezzanine
from include.adapters.vmaf import vmaf_argv
from include.base.errors import CoreRungMissing
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Window
from include.domain.media.sampling import compared_frames
from include.domain.outcome.results import CheckOutcome, CheckResult, EncodeResult, RenditionVerdict
from include.domain.recipe.treatment import SourceTreatment
from include.domain.title.title import Tier
from include.recipes import load_tiers
from include.stages import check as check_module
from include.stages.comparison import Comparison, Scored
from tests.clips import Clips, run_ffmpeg
from tests.titles import Title, fast, make_title

TOP = "h264_240p"
RATE = "24000/1001"


def with_rendition(title: Title, name: str, file: Path) -> Title:
    """The title with the rendition ``name`` replaced by ``file``."""
    key = title.ctx.key(f"renditions/replaced-{file.name}")
    title.ctx.store.put_bytes(key, file.read_bytes())
    renditions = tuple(
        EncodeResult(**{**dict(each), "uri": key}) if each.rendition == name else each for each in title.renditions
    )
    return dataclasses.replace(title, renditions=renditions)


def verdict_on(result: CheckResult, name: str) -> RenditionVerdict:
    return next(each for each in result.renditions if each.rendition == name)


def rendition_file(title: Title, name: str) -> Path:
    uri = next(each.uri for each in title.renditions if each.rendition == name)
    return Path(title.ctx.store.readable(uri))


def compared(title: Title) -> int:
    """How many of its frames are compared with the mezzanine."""
    tier = load_tiers()[title.ctx.title.tier]
    length_s = min(title.verified.duration_s, title.source.video.end_s)
    return len(
        compared_frames(
            length_s,
            every_s=tier.compared_every_s,
            most=tier.compared_frames,
            fps=parse_rate(title.decision.frame_rate),
        ).positions
    )


def test_good_renditions_pass_with_their_score_and_its_cost(title: Title, verdicts: CheckResult) -> None:
    assert [each.outcome for each in verdicts.renditions] == [CheckOutcome.PASS, CheckOutcome.PASS]
    assert verdicts.degraded is False
    assert verdicts.audio == ()
    low, high = (each.vmaf for each in verdicts.renditions)
    assert low is not None
    assert high is not None
    assert (high.frames, high.sampled, high.model) == (compared(title), True, "vmaf_v0.6.1")
    assert 40 < low.mean < high.mean <= 100
    assert high.p1 <= high.harmonic_mean <= high.mean
    assert verdicts.cost.cpu_s > 0
    assert all(each.check_cost is not None and each.check_cost.wall_s > 0 for each in verdicts.renditions)


CHANGED = {
    "cut short": ("-t", "4", "-c", "copy"),
    "another picture": ("-vf", "negate,hflip,hue=h=90"),
    "keyframes elsewhere": ("-g", "50"),
    "another size": ("-vf", "scale=320:180"),
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("cut short", "frames, the mezzanine gives"),
        ("another picture", "does not show the mezzanine's picture"),
        ("keyframes elsewhere", "keyframes are not every 48 frames"),
        ("another size", "is 320x180, ordered were 426x240"),
    ],
)
def test_a_bad_rendition_fails_with_its_reason_and_degrades_the_title(
    title: Title, tmp_path: Path, change: str, reason: str
) -> None:
    file = tmp_path / "changed.mp4"
    arguments = CHANGED[change]
    recipe = () if "copy" in arguments else ("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "scenecut=0")
    gop = () if {"copy", "-g"} & set(arguments) else ("-g", "48")
    run_ffmpeg(["-i", str(rendition_file(title, TOP)), *recipe, *gop, *arguments, "-an", str(file)])

    result = with_rendition(title, TOP, file).check()

    verdict = verdict_on(result, TOP)
    assert verdict.outcome is CheckOutcome.FAIL
    assert any(reason in each for each in verdict.reasons)
    assert result.degraded is True


def test_damaged_data_fails_and_names_no_path(title: Title, tmp_path: Path) -> None:
    data = bytearray(rendition_file(title, TOP).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    file = tmp_path / "damaged.mp4"
    file.write_bytes(data)

    verdict = verdict_on(with_rendition(title, TOP, file).check(), TOP)

    assert verdict.outcome is CheckOutcome.FAIL
    assert "does not decode" in verdict.reasons[0]
    assert not any(str(title.folder.parent) in each for each in verdict.reasons)


def test_a_file_that_is_no_video_fails(title: Title, tmp_path: Path) -> None:
    file = tmp_path / "garbage.mp4"
    file.write_bytes(b"garbage" * 100)

    assert verdict_on(with_rendition(title, TOP, file).check(), TOP).outcome is CheckOutcome.FAIL


def test_a_rendition_that_was_not_encoded_is_missing(title: Title) -> None:
    without = tuple(each for each in title.renditions if each.rendition != TOP)

    result = dataclasses.replace(title, renditions=without).check()

    assert verdict_on(result, TOP).outcome is CheckOutcome.MISSING
    assert verdict_on(result, TOP).vmaf is None
    assert result.degraded is True


def test_without_a_core_rendition_the_title_does_not_go_out(title: Title) -> None:
    without = tuple(each for each in title.renditions if each.rendition != "h264_144p")

    with pytest.raises(CoreRungMissing, match="h264_144p was not encoded"):
        dataclasses.replace(title, renditions=without).check()


def test_a_measurement_that_fails_is_none_with_a_reason(title: Title, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.domain.outcome.rules.vmaf_model", lambda width, height: "no_such_model")

    result = title.check()

    for verdict in result.renditions:
        assert verdict.outcome is CheckOutcome.PASS
        assert verdict.vmaf is None
        assert "VMAF was not measured" in verdict.reasons[0]


MPEG2 = ("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-q:v", "2")
TEN_BIT = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv422p10le")
SKIPS = {"filters": "select='not(eq(mod(n,7),3))'", "extra": ("-fps_mode", "vfr")}
FIELDS = {"filters": "interlace,setfield=tff", "video": MPEG2}
ODD = [
    pytest.param("vfr.mkv", {"seconds": 2, **SKIPS}, id="variable rate"),
    pytest.param("late-video.mkv", {"seconds": 2, "filters": "setpts=PTS+0.4/TB"}, id="a video that starts late"),
    pytest.param("interlaced.ts", {"seconds": 2, **FIELDS}, id="interlaced"),
    pytest.param("turned.mp4", {"seconds": 2, "size": "180x320"}, id="portrait"),
    pytest.param("ten-bit.mkv", {"seconds": 1, "video": TEN_BIT}, id="10 bit 4:2:2"),
    pytest.param("one-frame-check.mp4", {"seconds": 0.04}, id="one frame"),
]


@pytest.mark.parametrize(("name", "options"), ODD)
def test_odd_sources_are_compared_in_step(clips: Clips, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    made = make_title(tmp_path, clips(f"check-{name}", **options), change=fast)

    result = made.check()

    assert all(each.outcome is CheckOutcome.PASS for each in result.renditions), result
    top = result.renditions[-1].vmaf
    assert top is not None
    # Pictures of another time would score far below: the clip's counter and bars move in every frame.
    assert top.mean > 80
    assert top.frames == compared(made)


def test_what_the_first_version_was_checked_for_is_not_checked_again(
    title: Title, verdicts: CheckResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dataclasses.replace(
        title,
        decision=title.decision.model_copy(update={"jobs": title.decision.jobs[:1]}),
        renditions=title.renditions[:1],
    ).check()
    decoded: list[str] = []
    decode = check_module._decode

    def counted(ctx: Any, planned: Any, *rest: Any) -> Any:
        decoded.append(planned.name)
        return decode(ctx, planned, *rest)

    monkeypatch.setattr(check_module, "_decode", counted)

    both = title.check(before=first)

    assert decoded == [TOP]
    assert both.renditions[0] == first.renditions[0]
    assert [each.model_copy(update={"check_cost": None}) for each in both.renditions] == [
        each.model_copy(update={"check_cost": None}) for each in verdicts.renditions
    ]
    assert both.degraded is False


@pytest.mark.parametrize("change", ["encoded anew", "failed before"])
def test_a_rendition_that_is_another_or_did_not_pass_is_checked_again(
    change: str, title: Title, verdicts: CheckResult
) -> None:
    update = {"key": "another"} if change == "encoded anew" else {"outcome": CheckOutcome.FAIL}
    before = verdicts.model_copy(
        update={"renditions": tuple(each.model_copy(update={**update, "vmaf": None}) for each in verdicts.renditions)}
    )

    assert all(
        each.vmaf is not None and each.outcome is CheckOutcome.PASS for each in title.check(before=before).renditions
    )


def test_a_checked_rendition_that_is_unlike_the_others_fails_all_the_same(title: Title, verdicts: CheckResult) -> None:
    longer = tuple(each.model_copy(update={"frames": 9999 + number}) for number, each in enumerate(verdicts.renditions))

    result = title.check(before=verdicts.model_copy(update={"renditions": longer}))

    assert [each.outcome for each in result.renditions] == [CheckOutcome.PASS, CheckOutcome.FAIL]
    assert result.renditions[1].reasons == ("has 10000 frames, the other renditions have 9999",)
    assert result.degraded


@pytest.mark.parametrize("sought", [False, True])
def test_compared_frames_score_as_they_do_where_every_frame_is_compared(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sought: bool
) -> None:
    clip = clips("long.mp4", seconds=21, size="160x90", rate=RATE, languages=(), extra=("-g", "250"))
    made = make_title(tmp_path, clip, change=fast, tier=Tier.STANDARD, stills=False)
    if sought:
        # Each frame of the mezzanine is looked for by itself, as in titles whose frames lie far apart.
        monkeypatch.setattr(vmaf, "FAR_S", 0.5)
    every = math.ceil(21 * Fraction(RATE) / 20)

    sampled = made.check().renditions[-1].vmaf

    planned, result = made.decision.renditions[-1], made.renditions[-1]
    scores, _ = vmaf.compare(
        made.ctx.settings,
        open_mezzanine(made.ctx, made.source),
        made.ctx.store.local_copy(result.uri, tmp_path),
        made.source.video,
        planned.treatment,
        frame_rate=planned.frame_rate,
        model="vmaf_v0.6.1",
        window=None,
        threads=1,
        scratch=tmp_path,
        timeout_s=60,
    )
    assert len(scores) == made.verified.frames
    assert sampled is not None
    assert (sampled.sampled, sampled.frames) == (True, 20)
    expected = scores[::every]
    assert sampled.mean == pytest.approx(sum(expected) / len(expected), abs=0.01)
    assert sampled.p1 == pytest.approx(min(expected), abs=0.01)


def test_the_mezzanine_is_read_once_for_all_renditions(title: Title, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    for module in (vmaf, following):
        real = module.run

        def noted(argv: list[str], real: Any = real, **options: Any) -> Any:
            commands.append(" ".join(argv))
            return real(argv, **options)

        monkeypatch.setattr(module, "run", noted)

    title.check()

    mezzanine = str(Path(title.ctx.title.mezzanine.removeprefix("file://")))
    reading = [command for command in commands if mezzanine in command]
    excerpts = [command for command in reading if "thumbnails.gray" in command]
    assert len(reading) - len(excerpts) == 1
    assert len(excerpts) <= 2, "seconds at the beginning and at the end, for the thumbnails"
    assert sum("libvmaf" in command for command in commands) == len(title.renditions)


@pytest.mark.parametrize("known", [False, True])
def test_a_rendition_that_looks_wrong_on_a_few_frames_is_compared_on_every_frame(
    title: Title, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    file = tmp_path / "negated.mp4"
    recipe = ("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "scenecut=0", "-g", "48")
    run_ffmpeg(["-i", str(rendition_file(title, TOP)), "-vf", "negate", *recipe, "-an", str(file)])
    asked: list[str] = []
    every_frame = Comparison.every_frame

    def looked(self: Comparison, planned: Any, result: Any) -> Any:
        asked.append(planned.name)
        found, cost = every_frame(self, planned, result)
        assert found.score is not None
        assert (found.score.frames, found.score.sampled) == (title.verified.frames, False)
        better = found.score.model_copy(update={"mean": 90.0, "p1": 80.0})
        return Scored(score=better if known else found.score), cost

    monkeypatch.setattr(Comparison, "every_frame", looked)

    verdict = verdict_on(with_rendition(title, TOP, file).check(), TOP)

    assert asked == [TOP]
    assert verdict.outcome is (CheckOutcome.PASS if known else CheckOutcome.FAIL)


def test_the_comparison_starts_a_few_frames_early_and_throws_them_away(title: Title) -> None:
    argv = vmaf_argv(
        "ffmpeg",
        OpenedMezzanine(address="/m/in.mp4", origin_s=1.4),
        "/r/out.mp4",
        title.source.video,
        SourceTreatment(deinterlace=True),
        frame_rate="25",
        model="vmaf_v0.6.1",
        window=Window(start_s=10.0, duration_s=4.0),
        from_s=8.52,
        threads=2,
    )

    # The mezzanine is read from a keyframe that was found, on its container's clock; both sides are cut by their times.
    assert [argv[index + 1] for index, part in enumerate(argv) if part == "-ss"] == ["9.520000", "9.920000"]
    graph = argv[argv.index("-filter_complex") + 1]
    assert graph.count("start_time=9.520000") == 2
    assert graph.count("trim=end_frame=112:start_frame=12") == 2
    reference = graph[graph.index("bwdif") :]
    assert reference.index("fps=") < reference.index("trim=") < reference.index("scale=")
