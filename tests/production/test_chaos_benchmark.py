"""The benchmark of kills in its smallest form, on the session's farm."""

from __future__ import annotations

import pytest

from benchmarks import chaos
from tests.benchmarks.smallest import printed
from tests.farm import Farm


@pytest.mark.timeout(600)
def test_a_worker_dies_and_the_figures_are_whole(
    production: Farm, mezzanine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = chaos.main(["--json", "--smallest"], on=production, mezzanine=mezzanine)

    out, said = capsys.readouterr()
    found = printed(out)
    metrics = found["metrics"]
    assert (code, found.get("stopped"), found["violations"]) == (0, None, [])
    assert "1/1 killed worker" in said
    assert metrics["kills_worker"] == 1
    assert metrics["titles_published"] == metrics["titles"] >= 1
    assert metrics["titles_lost"] == 0
    assert metrics["reader_looks"] > 0
