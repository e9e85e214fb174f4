"""Results of stages as earlier releases wrote them: what lacks something that later stages read is made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from include.adapters.store.documents import load_if_valid
from include.adapters.store.local import LocalStore
from include.base.document import Document
from include.domain.outcome.results import AudioResult, CheckResult

COST = {"cpu_s": 0.2, "peak_memory_mb": 44.9, "wall_s": 1.1}
CHECKED = {
    "audio": [],
    "cost": COST,
    "degraded": False,
    "renditions": [
        {
            "check_cost": COST,
            "frames": 50,
            "key": "d3b41d2b8dcda020",
            "outcome": "pass",
            "reasons": [],
            "rendition": "h264_144p",
            "vmaf": {
                "frames": 50,
                "harmonic_mean": 87.227,
                "mean": 87.242,
                "model": "vmaf_v0.6.1",
                "p1": 84.353,
                "sampled": False,
            },
        }
    ],
}
SOUND = {
    "renditions": [
        {
            "bitrate_kbps": 134,
            "channels": 2,
            "codec": "aac",
            "default": True,
            "duration_s": 2.0,
            "label": "English",
            "language": "en",
            "loudness_lufs": -23.0,
            "name": "aac_en_stereo",
            "source_lufs": -21.81,
            "true_peak_dbtp": -21.18,
            "uri": "work/twice/films.1/audio/aac_en_stereo.mp4",
        }
    ],
    "warnings": [],
}


@pytest.mark.parametrize(("kind", "written"), [(CheckResult, CHECKED), (AudioResult, SOUND)])
def test_a_result_of_before_that_lacks_what_later_stages_read_counts_as_not_made(
    kind: type[Document], written: dict[str, Any], tmp_path: Path
) -> None:
    """0.1.0 and 0.2.0 counted no samples and compared no sound: packaging with their checks failed for ever."""
    store = LocalStore(tmp_path)
    store.put_bytes("work/twice/films.1/result.json", json.dumps(written).encode())

    assert load_if_valid(store, "work/twice/films.1/result.json", kind) is None
