"""The chapters of a title beside its manifests: as WebVTT, and in the form that Apple's players read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from include.adapters.manifests.contents import CHAPTERS_JSON, CHAPTERS_TEXT
from include.domain.media.captions import clean_cue, webvtt
from include.domain.media.media import Chapter


def write_chapters(folder: Path, chapters: Sequence[Chapter], *, language: str) -> None:
    """Write both files; nothing where there are no chapters.

    Args:
        folder: Of the set.
        chapters: In order.
        language: In which they are named, as far as that is known: the default sound's.
    """
    if not chapters:
        return
    cues = [
        clean_cue(start_ms=round(each.start_s * 1000), end_ms=round(each.end_s * 1000), text=each.title)
        for each in chapters
    ]
    (folder / CHAPTERS_TEXT).write_text(webvtt(cue for cue in cues if cue is not None), encoding="utf-8")
    # "JavaScript Object Notation (JSON) Chapter Format for HTTP Live Streaming", Apple.
    listed = [
        {
            "chapter": number,
            "start-time": each.start_s,
            "duration": round(each.end_s - each.start_s, 3),
            "titles": [{"language": language, "title": each.title}],
        }
        for number, each in enumerate(chapters, start=1)
    ]
    (folder / CHAPTERS_JSON).write_text(json.dumps(listed, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
