from __future__ import annotations

import pytest

from include.domain.media.languages import language_tag
from include.domain.media.rejection import Reason, judge_decode
from include.domain.media.sampling import sample_windows


@pytest.mark.parametrize(
    ("decode", "expected"),
    [
        ({"frames": 100, "expected": 100, "errors": 0, "ends_early": False}, None),
        ({"frames": 1000, "expected": 1000, "errors": 1, "ends_early": False}, None),
        ({"frames": 1000, "expected": 1000, "errors": 2, "ends_early": False}, Reason.UNDECODABLE),
        ({"frames": 60, "expected": 100, "errors": 0, "ends_early": True}, Reason.TRUNCATED),
        ({"frames": 0, "expected": 100, "errors": 0, "ends_early": False}, Reason.UNDECODABLE),
    ],
)
def test_a_decode_is_judged_by_frames_errors_and_end(decode: dict[str, object], expected: Reason | None) -> None:
    verdict = judge_decode(**decode, tolerance=0.001)  # type: ignore[arg-type]  # a table of arguments

    assert expected == (verdict[0] if verdict else None)


@pytest.mark.parametrize(("frames", "expected"), [(50, 100), (100, 50)])
def test_the_share_of_damage_is_that_of_all_frames_promised_or_decoded(frames: int, expected: int) -> None:
    def judged(errors: int) -> tuple[Reason, str] | None:
        return judge_decode(frames=frames, expected=expected, errors=errors, tolerance=0.04, ends_early=False)

    assert judged(4) is None
    assert judged(5) == (Reason.UNDECODABLE, "5 of 100 frames are damaged")


def test_a_decode_says_how_much_of_it_is_there() -> None:
    assert judge_decode(frames=60, expected=100, errors=0, tolerance=0, ends_early=True) == (
        Reason.TRUNCATED, "it ends early: 60 of about 100 frames are there",
    )  # fmt: skip
    assert judge_decode(frames=1, expected=1, errors=0, tolerance=0, ends_early=False) is None


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(3.0, [(0.0, 3.0)]), (12.0, [(0.0, 12.0)]), (60.0, [(8.0, 4.0), (28.0, 4.0), (48.0, 4.0)])],
)
def test_windows_are_spread_evenly_and_become_one_in_a_short_title(
    duration: float, expected: list[tuple[float, float]]
) -> None:
    found = sample_windows(duration, count=3, length_s=4.0)

    assert expected == [(window.start_s, window.duration_s) for window in found]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("eng", "en"),
        ("ger", "de"),
        ("deu", "de"),
        ("pt-BR", "pt-BR"),
        ("pt_BR", "pt-BR"),
        ("eng-US", "en-US"),
        ("gsw", "gsw"),
        ("fre", "fr"),
        ("fra", "fr"),
        ("nob", "nb"),
        ("cmn-Hant", "zh-Hant"),
    ]
    + [(value, "und") for value in (None, "", "und", "x", "<script>", "english", "e\nn")],
)
def test_language_tags_become_those_of_manifests(value: str | None, expected: str) -> None:
    assert expected == language_tag(value)
