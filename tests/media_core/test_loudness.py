"""Loudness and peaks as ffmpeg reports them."""

from __future__ import annotations

import subprocess

import pytest

from include.adapters.ffmpeg.loudness import beyond_measure, limited_lufs, measured, measuring
from include.adapters.ffmpeg.reading import parse_ebur128
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.domain.media.loudness import Loudness


def heard(tone: str, filters: str) -> str:
    argv = [ffmpeg(Settings()), "-nostdin", "-hide_banner", "-loglevel", "info", "-nostats"]
    argv += ["-f", "lavfi", "-i", f"aevalsrc={tone}:s=48000:d=3", "-filter_complex", f"[0:0]{filters}[out]"]
    return subprocess.run(
        [*argv, "-map", "[out]", "-f", "null", "-"], capture_output=True, check=True, text=True, timeout=60
    ).stderr


@pytest.mark.parametrize(
    "tone",
    [
        "'0.5*sin(2*PI*12000*t+PI/4)'",
        "'if(between(t,1,1.002),0.89*sin(2*PI*1000*t),0.02*sin(2*PI*200*t))'",
        "'0.5*(2*gt(sin(2*PI*997*t),0)-1)'",
        "'3*sin(2*PI*440*t)'",
    ],
    ids=["between samples", "a click", "a square", "above full scale"],
)
def test_it_measures_as_ebur128_does_with_its_own_true_peak(tone: str) -> None:
    found = measured(heard(tone, measuring("one")), "one")

    loudness, peak = parse_ebur128(heard(tone, "ebur128=framelog=quiet:peak=true"))
    assert found.integrated_lufs == loudness
    assert found.true_peak_dbtp == pytest.approx(peak, abs=0.15)


def test_a_report_that_is_not_whole_is_an_error() -> None:
    whole = heard("'0.5*sin(2*PI*440*t)'", measuring("one"))
    # Another graph has begun its report before the peak of this one.
    between = whole.replace("  Sample peak:", "[ebur128@two @ 0x1] Summary:\n  Sample peak:")

    for stderr in ("Conversion failed!", between, whole.replace("max_volume", "")):
        with pytest.raises(ValueError, match="no whole report"):
            measured(stderr, "one")


def test_reports_that_have_run_into_each_other_are_an_error() -> None:
    """Who speaks is named only at the beginning of a line: a report that begins on another's has no name."""
    report = "Summary:\n\n  Integrated loudness:\n    I:         {} LUFS\n    Threshold: -40.0 LUFS"
    whole = f"[ebur128@one @ 0x1] [info] {report.format(-20.0)}\n"
    both = f"[ebur128@one @ 0x1] [info] {report.format(-20.0)}{report.format(-30.0)}\n[ebur128@two @ 0x2] [info] \n"

    assert limited_lufs(whole, "one") == -20.0
    for name in ("one", "two"):
        with pytest.raises(ValueError, match="no whole report"):
            limited_lufs(both, name)


def test_what_is_louder_than_the_measure_is_told() -> None:
    def loud(integrated_lufs: float) -> Loudness:
        return Loudness(integrated_lufs=integrated_lufs, true_peak_dbtp=12.0, sample_peak_dbfs=12.0)

    assert [beyond_measure(loud(each)) for each in (-23.0, 9.0, 10.0)] == [False, False, True]
