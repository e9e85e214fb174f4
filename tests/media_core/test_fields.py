from __future__ import annotations

import pytest

from include.domain.media.content import Frame
from include.domain.media.fields import pulldown_suspected, pulled_down, top_field_first
from tests.media_core.samples import analysis, video


def changing(changes: list[float], **metadata: str) -> list[Frame]:
    names = {f"lavfi.{name.replace('__', '.')}": value for name, value in metadata.items()}
    return [
        Frame(time_s=number / 30, metadata={"lavfi.signalstats.YDIF": str(change), **names})
        for number, change in enumerate(changes)
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([3.0, 3.1, 2.9, 0.2, 3.0] * 20, True),
        ([3.0, 3.1, 2.9, 2.8, 3.0] * 20, False),
        ([0.1, 0.1, 0.0, 0.1, 0.1] * 20, False),
        ([0.0] * 50 + [3.0, 3.1, 2.9, 0.2, 3.0] * 10, True),
        ([3.0, 3.1, 2.9, 2.8, 3.0] * 15 + [3.0, 3.1, 2.9, 0.2, 3.0] * 8, False),
        ([3.0, 0.1] * 50, False),
        ([3.0, 3.1, 2.9, 0.2, 3.0] * 2, False),
        ([], False),
    ],
)
def test_film_repeats_one_frame_in_five_once_its_fields_are_matched(changes: list[float], expected: bool) -> None:
    assert expected == pulled_down([changing(changes)])


def repeated(kinds: list[str], fps: str = "30000/1001") -> bool:
    frames = [frame for kind in kinds for frame in changing([3.0], idet__repeated__current_frame=kind)]
    return pulldown_suspected(frames, analysis(), video(frame_rate=fps, width=320, height=240))


def test_repeated_fields_in_turn_are_a_suspicion_at_the_rate_of_video_only() -> None:
    film = ["top", "neither", "bottom", "neither", "neither"] * 10

    assert repeated(film)
    assert not repeated(film, fps="25")
    assert not repeated(["top", "neither", "neither", "neither", "neither"] * 10)
    assert not repeated(["neither"] * 10)
    assert not repeated([])


def test_combing_at_the_rate_of_video_is_a_suspicion() -> None:
    combed = analysis(interlaced=True)

    assert pulldown_suspected([], combed, video(frame_rate="30000/1001"))
    assert not pulldown_suspected([], combed, video(frame_rate="25"))
    assert not pulldown_suspected([], combed, video(frame_rate="30000/1001", variable_frame_rate=True))


def test_most_combed_frames_say_which_field_comes_first() -> None:
    assert top_field_first(changing([1.0], idet__multiple__current_frame="tff"))
    assert not top_field_first(changing([1.0, 1.0], idet__multiple__current_frame="bff"))
