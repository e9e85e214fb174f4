"""Frame rates as exact fractions: how one is read, wherever it is written as text."""

from __future__ import annotations

from fractions import Fraction

MAX_RATE = Fraction(60)
"""The highest that is published."""

STANDARD_RATES = tuple(
    Fraction(text)
    for text in (
        "5",
        "10",
        "12",
        "15",
        "20",
        "24000/1001",
        "24",
        "25",
        "30000/1001",
        "30",
        "48",
        "50",
        "60000/1001",
        "60",
    )
)

HIGH_RATES = tuple(Fraction(text) for text in ("100", "120000/1001", "120", "144", "240000/1001", "240"))
"""Of cameras and screens: published at a whole part of them."""


def parse_rate(text: object) -> Fraction:
    """A positive rate in frames per second from ``25`` or ``24000/1001``; raises :class:`ValueError` for all else.

    Only whole numbers are read on either side of the stroke: the text may come from a file that means harm, and a
    number such as ``1e999999999`` would fill the memory.
    """
    numerator, _, denominator = str(text).partition("/")
    try:
        rate = Fraction(int(numerator), int(denominator or 1))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{str(text)[:40]!r} is no frame rate") from error
    if rate <= 0:
        raise ValueError(f"{str(text)[:40]!r} is no frame rate: it is not above zero")
    return rate
