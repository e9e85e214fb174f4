"""The stage ``prove``: every frame of a published set, in slices, and what it finds that the checks could not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from include.base.errors import EncoderCrashed, MissingInput
from include.domain.outcome import proof as rules
from include.domain.outcome.proof import Proof, RenditionProof
from include.domain.outcome.results import CheckOutcome, CheckResult
from include.stages import prove as prove_module
from include.stages.comparison import Comparison
from include.stages.prove import SLICE_S, prove
from tests.clips import run_ffmpeg
from tests.media_finish.test_check import rendition_file, with_rendition
from tests.titles import Title

LOW, TOP = "h264_144p", "h264_240p"
FRAMES = 168
"""Of seven seconds at 24000/1001."""
BETWEEN = "between(n,56,62)"
"""Frames that lie between two of those that the checks compare."""


@pytest.fixture(autouse=True)
def anew(title: Title) -> None:
    """Each test begins the proof of the title anew."""
    title.ctx.store.delete(title.ctx.kept_key("proof.json"))


def proved(title: Title, verdicts: CheckResult, told: list[tuple[float, str]] | None = None) -> Proof:
    """One slice of the proof."""
    ctx = dataclasses.replace(title.ctx, report=lambda *said: None if told is None else told.append(said))
    found = prove.function(ctx, ctx.title, title.source, title.decision, title.renditions, title.verified, verdicts)
    assert isinstance(found, Proof)
    return found


def of(found: Proof, name: str) -> RenditionProof:
    return next(each for each in found.renditions if each.rendition == name)


def altered(title: Title, tmp_path: Path, name: str, filters: str) -> Title:
    """The title with pictures of a rendition changed, in an encode that is otherwise as ordered."""
    file = tmp_path / "altered.mp4"
    recipe = ("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "scenecut=0", "-g", "48", "-crf", "18")
    run_ffmpeg(["-i", str(rendition_file(title, name)), "-vf", filters, *recipe, "-an", str(file)])
    return with_rendition(title, name, file)


def test_every_frame_of_a_good_set_is_compared_and_its_cost_is_said(title: Title, verdicts: CheckResult) -> None:
    told: list[tuple[float, str]] = []

    found = proved(title, verdicts, told)

    assert (found.done, found.wrong, found.tallies) == (True, (), ())
    low, high = (of(found, name).vmaf for name in (LOW, TOP))
    assert low is not None
    assert high is not None
    assert (low.frames, high.frames, high.sampled) == (FRAMES, FRAMES, False)
    assert 40 < low.harmonic_mean < high.harmonic_mean <= 100
    assert found.cost.cpu_s > 0
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert any(message.startswith(f"proving {TOP}, frame ") for _, message in told)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (TOP, f"looks worse than {LOW} at 2."),
        # Nothing smaller can be held against the smallest one: the mezzanine's own excerpts are.
        (LOW, "does not show the mezzanine's picture at 2."),
    ],
)
def test_a_few_wrong_frames_pass_the_checks_and_are_found_by_the_proof(
    title: Title, verdicts: CheckResult, tmp_path: Path, name: str, reason: str
) -> None:
    wrong = altered(title, tmp_path, name, f"negate=enable='{BETWEEN}',hue=h=90:enable='{BETWEEN}'")

    checked, found = wrong.check(), proved(wrong, verdicts)

    assert {each.rendition: each.outcome for each in checked.renditions} == dict.fromkeys((LOW, TOP), CheckOutcome.PASS)
    assert [each.rendition for each in found.wrong] == [name]
    (said,) = of(found, name).reasons
    assert said.startswith(reason)


def test_a_scene_that_is_hard_to_encode_is_no_finding(title: Title, verdicts: CheckResult, tmp_path: Path) -> None:
    """It is blurred in the smallest rendition, which is looked at again and found to show what it should."""
    blurred = altered(title, tmp_path, LOW, f"gblur=sigma=6:enable='{BETWEEN}'")

    found = proved(blurred, verdicts)

    low = of(found, LOW).vmaf
    assert low is not None
    assert low.p1 < rules.CONSPICUOUS * low.mean
    assert (found.done, found.wrong) == (True, ())


def test_data_that_was_damaged_after_the_checks_is_found_and_no_path_is_named(
    title: Title, verdicts: CheckResult, tmp_path: Path
) -> None:
    data = bytearray(rendition_file(title, TOP).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    file = tmp_path / "damaged.mp4"
    file.write_bytes(data)

    found = proved(with_rendition(title, TOP, file), verdicts)

    (wrong,) = found.wrong
    assert wrong.rendition == TOP
    assert "does not decode at 0.0 s" in wrong.reasons[0]
    assert not any(str(title.folder.parent) in each for each in wrong.reasons)


def test_a_rendition_that_ends_early_is_found(title: Title, verdicts: CheckResult, tmp_path: Path) -> None:
    file = tmp_path / "short.mp4"
    run_ffmpeg(["-i", str(rendition_file(title, TOP)), "-t", "4", "-c", "copy", str(file)])

    (wrong,) = proved(with_rendition(title, TOP, file), verdicts).wrong

    assert wrong.reasons == (f"has 96 frames from 0.0 s on, the mezzanine has {FRAMES}",)


def test_a_proof_goes_on_in_the_next_slice_behind_what_is_compared(
    title: Title, verdicts: CheckResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = proved(title, verdicts)
    title.ctx.store.delete(title.ctx.kept_key("proof.json"))
    monkeypatch.setattr(rules, "STRETCH_S", 3.0)
    compared: list[tuple[str, float]] = []
    stretch = Comparison.stretch
    monkeypatch.setattr(prove_module, "time", SimpleNamespace(monotonic=lambda: SLICE_S / 2.5 * len(compared)))

    def counted(self: Comparison, planned: object, path: object, window: object, **options: object) -> object:
        if "told" in options:  # else it looks again
            compared.append((planned.name, window.start_s))  # type: ignore[attr-defined]
        return stretch(self, planned, path, window, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Comparison, "stretch", counted)
    slices = [proved(title, verdicts)]
    assert len(compared) == 3
    slices.append(proved(title, verdicts))

    assert [each.done for each in slices] == [False, True]
    assert compared == [(name, start * 1001 / 24000) for name in (LOW, TOP) for start in (0, 72, 144)]
    assert slices[-1].cost.cpu_s > slices[0].cost.cpu_s > 0
    for name in (LOW, TOP):
        before, after = of(whole, name).vmaf, of(slices[-1], name).vmaf
        assert before is not None
        assert after is not None
        assert after.frames == before.frames == FRAMES
        # The first frame of a stretch has none before it to move from.
        assert after.harmonic_mean == pytest.approx(before.harmonic_mean, abs=1)


def test_what_cannot_be_compared_is_told_and_is_no_word_against_the_rendition(
    title: Title, verdicts: CheckResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise EncoderCrashed("libvmaf fell over", command="ffmpeg", stderr_tail="")

    monkeypatch.setattr(Comparison, "stretch", crash)

    found = proved(title, verdicts)

    assert (found.done, found.wrong) == (True, ())
    assert of(found, TOP).vmaf is None
    assert of(found, TOP).reasons == (f"0 of {FRAMES} frames could be compared at 0.0 s",)


def test_a_rendition_that_was_removed_meanwhile_cannot_be_proved(title: Title, verdicts: CheckResult) -> None:
    gone = tuple(each.model_copy(update={"uri": "work/gone.mp4"}) for each in title.renditions)

    with pytest.raises(MissingInput, match="it is not in the work folder any more"):
        proved(dataclasses.replace(title, renditions=gone), verdicts)
