from __future__ import annotations

from typing import Any

import pytest

from include.domain.media.content import Frame, summarise
from include.domain.media.media import Analysis, Crop, Window
from tests.media_core.samples import video

WINDOW = Window(start_s=10.0, duration_s=4.0)


def frames(count: int = 10, *, start_s: float = 10.0, step_s: float = 0.1, **metadata: Any) -> list[Frame]:
    fields = {f"lavfi.{name.replace('__', '.')}": str(value) for name, value in metadata.items()}
    return [Frame(time_s=round(start_s + index * step_s, 6), metadata=dict(fields)) for index in range(count)]


def summary(measured: list[Frame], **source: Any) -> Analysis:
    return summarise((WINDOW,), (measured,), video(**source), loudness_lufs=None, true_peak_dbtp=None)


def test_nothing_measured_is_none_and_never_a_number() -> None:
    empty = summary([])

    assert Analysis(windows=(WINDOW,)) == empty


def test_the_first_frame_of_a_window_does_not_count_for_motion_and_cuts() -> None:
    measured = frames(3, siti__ti=4, signalstats__YDIF=2, scd__score=0)
    measured[0].metadata.update({"lavfi.siti.ti": "90", "lavfi.signalstats.YDIF": "80", "lavfi.scd.score": "99"})
    measured[2].metadata["lavfi.scd.score"] = "10"

    result = summary(measured)

    assert (result.ti_mean, result.ti_max, result.motion_mean) == (4.0, 4.0, 2.0)
    assert result.scene_cuts == (10.2,)
    assert result.scene_cuts_per_minute == 15.0


@pytest.mark.parametrize(
    ("kinds", "source", "expected"),
    [
        ({"tff": 9, "progressive": 1}, {"field_order": "tt"}, (True, True)),
        ({"bff": 3, "progressive": 7}, {"field_order": "bb"}, (True, False)),
        ({"tff": 1, "progressive": 9}, {"field_order": "tt"}, (False, None)),
        ({"tff": 1, "bff": 1, "progressive": 8}, {"field_order": "tt"}, (True, True)),
        ({"tff": 1, "bff": 1, "progressive": 9}, {"field_order": "tt"}, (False, None)),
        ({"tff": 1, "bff": 7, "progressive": 32}, {"field_order": "tt"}, (True, False)),
        ({"undetermined": 10}, {"field_order": "tt"}, (True, True)),
        ({"undetermined": 10}, {"field_order": "bb"}, (True, False)),
        ({"undetermined": 10}, {"field_order": "progressive"}, (False, None)),
        ({"tff": 9, "progressive": 1}, {"field_order": "progressive"}, (True, True)),
        ({"tff": 5, "progressive": 5}, {"field_order": "progressive"}, (False, None)),
        ({"tff": 10}, {"field_order": "progressive", "width": 1280, "height": 720}, (False, None)),
        ({"tff": 10}, {"frame_rate": "50"}, (False, None)),
        ({"tff": 10}, {"frame_rate": "30"}, (True, True)),
    ],
)
def test_interlace_needs_combing_and_more_of_it_where_nobody_declares_it(
    kinds: dict[str, int], source: dict[str, Any], expected: tuple[bool, bool | None]
) -> None:
    measured = [each for kind, count in kinds.items() for each in frames(count, idet__multiple__current_frame=kind)]

    result = summary(measured, **source)

    assert expected == (result.interlaced, result.top_field_first)


def test_bars_are_reported_only_where_all_windows_agree() -> None:
    letterbox = {"cropdetect__w": 1920, "cropdetect__h": 800, "cropdetect__x": 0, "cropdetect__y": 140}
    black = {"cropdetect__w": -1912, "cropdetect__h": -1072, "cropdetect__x": 1914, "cropdetect__y": 1078}
    full = {"cropdetect__w": 1920, "cropdetect__h": 1080, "cropdetect__x": 0, "cropdetect__y": 0}

    def crop(*windows: dict[str, int]) -> Crop | None:
        measured = [frames(2, **each) for each in windows]
        return summarise([WINDOW] * len(windows), measured, video(), loudness_lufs=None, true_peak_dbtp=None).crop

    assert Crop(width=1920, height=800, x=0, y=140) == crop(letterbox, letterbox, black)
    assert crop(letterbox, full) is None
    assert crop(letterbox) == crop(letterbox, letterbox)
    for side in ("w", "h"):
        assert crop(letterbox, {**letterbox, f"cropdetect__{side}": 0}) == crop(letterbox)
    assert crop(full, full) is None
    assert crop(black) is None


def test_the_most_detailed_frame_and_the_mean_are_told() -> None:
    measured = frames(4, siti__si=50)
    measured[2].metadata["lavfi.siti.si"] = "90"

    assert (summary(measured).si_max, summary(measured).si_mean) == (90.0, 60.0)


def test_black_and_frozen_shares_count_frames() -> None:
    measured = frames(20)
    for frame in measured[:5]:
        frame.metadata["lavfi.blackframe.pblack"] = "99"
    measured[8].metadata["lavfi.freezedetect.freeze_start"] = "0.3"
    measured[12].metadata["lavfi.freezedetect.freeze_end"] = "1.2"

    result = summary(measured)

    assert result.black_share == 0.25
    assert result.freeze_share == 0.45


def test_a_freeze_that_is_open_at_the_end_lasts_to_it() -> None:
    measured = frames(20)
    measured[10].metadata["lavfi.freezedetect.freeze_start"] = "0.5"

    assert summary(measured).freeze_share == 0.75


def test_the_representative_frame_has_detail_and_is_neither_dark_nor_at_a_cut() -> None:
    measured = frames(20, siti__si=50, signalstats__YAVG=120, scd__score=0)
    measured[3].metadata["lavfi.siti.si"] = "90"
    measured[3].metadata["lavfi.signalstats.YAVG"] = "5"
    measured[10].metadata["lavfi.scd.score"] = "40"
    measured[12].metadata["lavfi.siti.si"] = "80"
    measured[16].metadata["lavfi.siti.si"] = "70"

    assert summary(measured).brightest_s == 11.6
    assert summary(frames(5, siti__si=50, signalstats__YAVG=8)).brightest_s is None
