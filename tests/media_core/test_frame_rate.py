from __future__ import annotations

from fractions import Fraction

import pytest

from include.domain.media.frame_rate import parse_rate


@pytest.mark.parametrize(("text", "expected"), [("25", Fraction(25)), ("24000/1001", Fraction(24000, 1001))])
def test_a_rate_is_read_exactly(text: str, expected: Fraction) -> None:
    assert expected == parse_rate(text)


@pytest.mark.parametrize("text", ["0/0", "0", "-25", "25/0", "N/A", "", "1e999999999", "29.97", None])
def test_what_is_no_rate_is_refused(text: str | None) -> None:
    with pytest.raises(ValueError, match="is no frame rate"):
        parse_rate(text)
