"""Documents for tests of pure code."""

from __future__ import annotations

from typing import Any

from include.domain.media.media import Analysis, Inspection, MezzanineIdentity, VideoStream, Window


def video(**fields: Any) -> VideoStream:
    """A 1080p25 source; ``width`` and ``height`` are its display size as well."""
    width, height = fields.get("width", 1920), fields.get("height", 1080)
    known: dict[str, Any] = {
        "index": 0,
        "codec": "h264",
        "width": width,
        "height": height,
        "display_width": width,
        "display_height": height,
        "frame_rate": "25",
        "duration_s": 10.0,
        "pixel_format": "yuv420p",
    }
    return VideoStream(**{**known, **fields})


def inspection(**fields: Any) -> Inspection:
    """An inspection of :func:`video`."""
    picture = video(**fields)
    return Inspection(
        mezzanine=MezzanineIdentity(uri="file:///m/a.mp4", size_bytes=1000, marker="1"),
        container="mov,mp4,m4a,3gp,3g2,mj2",
        duration_s=picture.duration_s,
        video=picture,
        tool_version="9",
    )


def analysis(**fields: Any) -> Analysis:
    """An analysis that found nothing odd."""
    return Analysis(**{"windows": (Window(start_s=0, duration_s=4),), **fields})
