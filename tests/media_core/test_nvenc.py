"""Hardware encodes: planned where the tier allows them, made where a trial works, else by software with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from include.adapters.ffmpeg import nvenc
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed, OutOfMemory, ToolFailed, ToolTimeout
from include.base.settings import Settings
from include.domain.media.media import Inspection
from include.domain.outcome.results import CheckOutcome, EncodeResult, HardwareFault
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.recipe.rate_control import NvencCq
from include.domain.recipe.treatment import SourceTreatment
from include.domain.title.title import Tier
from include.domain.title.work import result_key
from include.pipelines.core import current_pipelines
from include.pipelines.runner import TaskJob, run_task
from include.services.settling import history_rows
from include.stages.analyse import analyse
from include.stages.core import StageContext
from include.stages.encode import encode
from include.stages.plan import plan
from tests.clips import Clips, stage_context
from tests.media_core.conftest import inspected
from tests.media_core.test_encode import shown
from tests.media_core.test_ffmpeg import capped, rendition
from tests.nvenc import CardFault, ffmpeg_with_card
from tests.titles import fast, make_title

Context = Callable[..., StageContext]
Ready = Callable[[CardFault], tuple[StageContext, Inspection, Plan]]


HARDWARE = rendition(encoder="h264_nvenc", preset="p5", tune="hq", rate_control=NvencCq.like(capped(23.0)))


@pytest.fixture(autouse=True)
def _unclosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card's stand-in is a script of the tests' Python, which runs ffmpeg: no media tool could."""
    monkeypatch.setenv("CALLSHEET_SANDBOX", "off")


@pytest.fixture(scope="module")
def planned(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Inspection, Plan]:
    """A clip, and its plan with one job for the pool of GPUs."""
    clip = clips("nvenc.mp4", size="256x144", seconds=5.0, languages=())
    ctx = stage_context(tmp_path_factory.mktemp("nvenc"), clip, settings={"gpu_slots": 1})
    source = inspected(ctx)
    decision = plan.function(ctx, ctx.title, source, analyse.function(ctx, ctx.title, source), codecs=("h264",))
    assert isinstance(decision, Plan)
    (job,) = decision.jobs
    assert (job.pool, job.hardware.encoder if job.hardware else None) == ("gpu_encode", "h264_nvenc")
    return clip, source, decision


@pytest.fixture
def ready(planned: tuple[Path, Inspection, Plan], context: Context, tmp_path: Path) -> Ready:
    """That title on a machine whose card has this fault."""

    def make(fault: CardFault) -> tuple[StageContext, Inspection, Plan]:
        clip, source, decision = planned
        ctx = context(clip, settings={"gpu_slots": 1, "ffmpeg": str(ffmpeg_with_card(tmp_path, fault))})
        return ctx, source, decision

    return make


def made(ctx: StageContext, source: Inspection, decision: Plan, job: EncodeJob | None = None) -> EncodeResult:
    result = encode.function(ctx, ctx.title, source, decision, job or decision.jobs[0])
    assert isinstance(result, EncodeResult)
    return result


def test_where_a_trial_works_the_card_makes_the_rendition_on_the_same_grid(ready: Ready) -> None:
    ctx, source, decision = ready("")

    result = made(ctx, source, decision)

    assert (result.encoder, result.fallback) == ("h264_nvenc", None)
    assert "-c:v h264_nvenc" in result.command
    stream, times, keys = shown(ctx, result)
    assert (stream["codec_tag_string"], stream["profile"], stream["width"]) == ("avc1", "High", 256)
    assert (len(times), keys) == (125, [0, 50, 100])


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        (
            "no_encoder",
            HardwareFault.NO_ENCODER,
            "no video encoder (OpenEncodeSessionEx failed: unsupported device (2)",
        ),
        ("busy", HardwareFault.BUSY, "all encoding sessions of the card"),
        ("small_refused", HardwareFault.UNSUPPORTED, "less than the minimum supported value"),
        ("dies", HardwareFault.CRASHED, "EncodePicture failed!: generic error (20)"),
        ("odd_keyframes", HardwareFault.BAD_OUTPUT, "keyframes are not every 50 frames (first at frame 17)"),
    ],
)
def test_whatever_is_wrong_with_the_card_software_makes_the_rendition_and_the_reason_is_kept(
    ready: Ready, caplog: pytest.LogCaptureFixture, fault: CardFault, expected: HardwareFault, words: str
) -> None:
    ctx, source, decision = ready(fault)

    with caplog.at_level("INFO"):
        result = made(ctx, source, decision)

    assert result.fallback is not None
    assert (result.encoder, result.fallback.encoder, result.fallback.fault) == ("libx264", "h264_nvenc", expected)
    assert words in result.fallback.message
    assert words in caplog.text
    assert (result.frames, shown(ctx, result)[2]) == (125, [0, 50, 100])
    # A card that fails the trial never gets the mezzanine.
    started = [line for line in caplog.messages if "h264_nvenc" in line and "nvenc.mp4" in line]
    assert len(started) == (fault in {"dies", "odd_keyframes"})


def test_a_card_that_hangs_leaves_software_half_of_the_time(ready: Ready) -> None:
    ctx, source, decision = ready("hangs")

    result = made(ctx, source, decision, decision.jobs[0].model_copy(update={"time_limit_s": 6.0}))

    assert result.fallback is not None
    assert (result.encoder, result.fallback.fault) == ("libx264", HardwareFault.HUNG)
    assert "ran longer than 3 s" in result.fallback.message


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a card")
def test_on_a_machine_without_a_card_the_real_encoder_takes_every_option_and_misses_the_driver() -> None:
    found = nvenc.trial(ffmpeg(Settings()), HARDWARE)

    assert found is not None
    assert (found.fault, "libcuda" in found.message) == (HardwareFault.NO_DRIVER, True)


def test_a_job_document_can_forbid_hardware_and_the_result_says_so(ready: Ready) -> None:
    ctx, source, decision = ready("")
    version = current_pipelines()["vod"].version
    title = ctx.title.model_copy(update={"pipeline_version": version})
    for stage, document in (("inspect", source), ("plan", decision)):
        ctx.store.put_bytes(result_key(title, stage), document.to_json().encode())

    run_task(
        TaskJob(task="encode", title=title, item=decision.jobs[0].name, time_limit_s=600, hardware=False),
        lambda **given: StageContext(settings=ctx.settings, **given),
        store=ctx.store,
        scratch=ctx.scratch,
    )

    result = EncodeResult.from_json(ctx.store.get_bytes(result_key(title, "encode", decision.jobs[0].name)))
    assert result.fallback is not None
    assert (result.encoder, result.fallback.fault) == ("libx264", HardwareFault.NOT_ALLOWED)


@pytest.mark.parametrize("first", ["", "no_encoder"])
def test_a_finished_rendition_of_either_form_is_found_wherever_the_next_attempt_runs(
    ready: Ready, first: CardFault
) -> None:
    ctx, source, decision = ready(first)
    done = made(ctx, source, decision)

    assert done == made(ctx, source, decision)
    object.__setattr__(ctx, "hardware", False)
    assert done == made(ctx, source, decision)
    assert len(ctx.store.list(ctx.kept_key("renditions"))) == 2


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Cannot load libnvidia-encode.so.1", HardwareFault.NO_DRIVER),
        (
            "Driver does not support the required nvenc API version. Required: 13.0 Found: 12.1",
            HardwareFault.OLD_DRIVER,
        ),
        ("cuInit(0) failed -> CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected", HardwareFault.NO_DRIVER),
        ("OpenEncodeSessionEx failed: incompatible client key (21): (no details)", HardwareFault.BUSY),
        ("Max B-frames 2 exceed 0", HardwareFault.UNSUPPORTED),
        ("something new", HardwareFault.CRASHED),
    ],
)
def test_what_the_encoder_says_is_classed(said: str, expected: HardwareFault) -> None:
    stderr = f"[h264_nvenc @ 0x55d0c0ffee00] [error] {said}\n[out#0] [error] /private/path: Nothing was written\n"

    found = nvenc.fallback(HARDWARE, EncoderCrashed("x", command="ffmpeg", stderr_tail=stderr))

    assert (found.fault, said in found.message, "private" in found.message) == (expected, True, False)


def test_a_card_without_memory_is_not_a_machine_without_memory() -> None:
    card = "[h264_nvenc @ 0x1] [error] OpenEncodeSessionEx failed: out of memory (10)\nx: Cannot allocate memory"

    def classed(error: type[ToolFailed], stderr: str) -> HardwareFault:
        return nvenc.fallback(HARDWARE, error("x", command="ffmpeg", stderr_tail=stderr)).fault

    assert classed(OutOfMemory, card) == HardwareFault.BUSY
    assert classed(ToolTimeout, "") == HardwareFault.HUNG
    with pytest.raises(OutOfMemory):
        classed(OutOfMemory, "[vf#0:0 @ 0x1] [error] Cannot allocate memory")


def test_a_title_of_hardware_and_software_renditions_is_checked_packaged_reported_and_remembered_as_any_other(
    clips: Clips, tmp_path: Path
) -> None:
    clip = clips("nvenc-title.mp4", size="320x180", seconds=4.0, rate="24000/1001")
    card = ffmpeg_with_card(tmp_path, "small_refused")
    title = make_title(tmp_path, clip, change=fast, settings={"gpu_slots": 1, "ffmpeg": str(card)}, tier=Tier.UGC)

    verdicts = title.check()
    packaged = title.package(verdicts)

    report = json.loads(title.ctx.store.get_bytes(f"{packaged.prefix}/{packaged.report}"))
    small, large = report["renditions"]
    assert [each["recipe"]["encoder"] for each in (small, large)] == ["libx264", "h264_nvenc"]
    assert [each["recipe"]["rate_control"]["kind"] for each in (small, large)] == ["capped_crf", "nvenc_cq"]
    assert small["recipe"]["rate_control"]["crf"] == large["recipe"]["rate_control"]["cq"] + 1
    assert small["recipe"]["treatment"] == SourceTreatment().model_dump(mode="json")
    assert (small["fallback"]["fault"], large["fallback"]) == ("unsupported", None)
    assert [verdict.outcome for verdict in verdicts.renditions] == [CheckOutcome.PASS, CheckOutcome.PASS]
    assert all(verdict.vmaf and verdict.vmaf.harmonic_mean > 60 for verdict in verdicts.renditions)
    assert [rung.codec[:4] for rung in packaged.rungs] == ["avc1", "avc1"]
    assert "h264_144p, h264_240p on GPUs by h264_nvenc (p5)" in " ".join(report["plan"]["notes"])

    rows = history_rows(title.source, title.analysis, title.decision, title.renditions, verdicts)
    assert [row.features["encoder"] for row in rows] == ["libx264", "h264_nvenc"]
    assert [row.features["rate_control"] for row in rows] == ["capped_crf", "nvenc_cq"]
    assert rows[0].features["rate_value"] == rows[1].features["rate_value"] + 1
    assert not rows[0].features["tone_map"]
    assert all(not isinstance(value, dict | list) for row in rows for value in row.features.values())
    assert len({row.recipe_hash for row in rows}) == 2
