"""How loud a sound is published: one gain, and what happens where its peaks do not allow the target."""

from __future__ import annotations

import math

import pytest

from include.domain.media.loudness import Level, Loudness, level, level_findings

ASKED = {"target_lufs": -23.0, "ceiling_dbtp": -1.0}


def sound(integrated_lufs: float | None, true_peak_dbtp: float, sample_peak_dbfs: float | None = None) -> Loudness:
    sample = true_peak_dbtp if sample_peak_dbfs is None else sample_peak_dbfs
    return Loudness(integrated_lufs=integrated_lufs, true_peak_dbtp=true_peak_dbtp, sample_peak_dbfs=sample)


@pytest.mark.parametrize(
    ("measured", "limiter_db", "expected"),
    [
        (sound(-30.0, -12.0), 0.0, Level(gain_db=7.0, due_lufs=-23.0)),
        (sound(-14.0, 0.5), 3.0, Level(gain_db=-9.0, due_lufs=-23.0)),
        (sound(-30.0, -3.0), 0.0, Level(gain_db=2.0, due_lufs=-28.0)),
        (sound(-26.0, -3.0, -3.4), 3.0, Level(gain_db=3.0, due_lufs=-23.0, limited_db=1.0, limit_dbfs=-1.4)),
        (sound(-33.0, -3.0), 3.0, Level(gain_db=5.0, due_lufs=-28.0, limited_db=3.0, limit_dbfs=-1.0)),
        (sound(None, -60.0), 3.0, Level(gain_db=0.0, due_lufs=None)),
        (sound(5.0, math.inf), 3.0, Level(gain_db=0.0, due_lufs=None)),
    ],
    ids=["lifted", "brought down", "stays quieter", "limited", "limited and quieter", "silence", "no number"],
)
def test_the_gain_ends_where_the_peaks_end_and_the_limiter_has_a_bound(
    measured: Loudness, limiter_db: float, expected: Level
) -> None:
    assert level(measured, **ASKED, limiter_db=limiter_db) == expected


@pytest.mark.parametrize(
    ("measured", "limiter_db", "codes"),
    [
        (sound(-30.0, -12.0), 3.0, []),
        (sound(2.0, 8.0), 0.0, ["hot_audio"]),
        (sound(-26.0, -3.0), 3.0, ["limited_audio"]),
        (sound(-30.0, -3.0), 0.0, ["quiet_audio"]),
        (sound(None, -60.0), 3.0, []),
    ],
)
def test_what_is_not_simply_brought_to_the_target_is_told(
    measured: Loudness, limiter_db: float, codes: list[str]
) -> None:
    chosen = level(measured, **ASKED, limiter_db=limiter_db)

    assert [each.code for each in level_findings(measured, chosen, name="en, stereo", **ASKED)] == codes
