"""Containers × starts of picture and sound × codecs: each published in sync, measured on the published set.

What a container cannot express stands in :data:`tests.matrix.CANNOT` with its reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix import CANNOT, CASES, FORMS, STARTS, assert_published_in_sync


@pytest.mark.parametrize(("form", "start"), CASES)
def test_every_source_is_published_in_sync(tmp_path: Path, form: str, start: str) -> None:
    assert_published_in_sync(tmp_path, form, start)


def test_every_container_is_tried_with_every_start_that_it_can_express() -> None:
    assert {(form, start) for form in FORMS for start in STARTS} == {case for case in CASES if case[0] in FORMS} | set(
        CANNOT
    )
    assert all(CANNOT.values())
