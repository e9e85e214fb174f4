"""Tiny clips, made by the real ffmpeg: each distinct one once per test session."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from include.adapters.catalog import Catalog
from include.adapters.store.opening import open_store
from include.adapters.tools import ffmpeg
from include.base.settings import Settings
from include.domain.title.title import Tier, TitleJob
from include.stages.core import ControlContext

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
HDR10 = (
    *("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"),
    *("-x265-params", "log-level=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"),
)
AAC = ("-c:a", "aac", "-b:a", "64k")
CLIP_LIMIT_S = 60


def make_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    size: str = "320x180",
    rate: str = "25",
    picture: str = "testsrc2",
    filters: str = "",
    video: tuple[str, ...] = H264,
    audio: tuple[str, ...] = AAC,
    languages: tuple[str, ...] = ("eng",),
    channels: int = 2,
    tone: str = "sine=frequency=440:sample_rate=48000",
    subtitles: Path | None = None,
    extra: tuple[str, ...] = (),
) -> Path:
    """Make one clip; the container follows from the suffix of ``path``.

    Args:
        path: Where to write it.
        seconds: Length.
        size: ``<width>x<height>``.
        rate: Frames per second, as a fraction.
        picture: lavfi source of the picture; ``size`` and ``rate`` are added.
        filters: Video filters behind the source.
        video: Output options of the video stream.
        audio: Output options of the audio streams.
        languages: One audio track each; empty for no audio.
        channels: Of each audio track.
        tone: lavfi source of the sound.
        subtitles: A subtitle file to embed.
        extra: Further output options.
    """
    separator = ":" if "=" in picture else "="
    inputs = ["-f", "lavfi", "-i", f"{picture}{separator}size={size}:rate={rate}"]
    maps = ["-map", "0:v"]
    for index, language in enumerate(languages):
        inputs += ["-f", "lavfi", "-i", tone]
        maps += ["-map", f"{index + 1}:a", f"-metadata:s:a:{index}", f"language={language}"]
    if subtitles is not None:
        inputs += ["-i", str(subtitles)]
        maps += ["-map", f"{len(languages) + 1}:s"]
    sound = [*audio, "-ac", str(channels)] if languages else []
    looks = ["-vf", filters] if filters else []
    run_ffmpeg([*inputs, *maps, "-t", f"{seconds}", *looks, *video, *sound, *extra, str(path)])
    return path


def run_ffmpeg(arguments: list[str]) -> None:
    """Run ffmpeg; a failure shows its stderr."""
    argv = [ffmpeg(Settings()), "-nostdin", "-v", "error", "-y", *arguments]
    finished = subprocess.run(argv, capture_output=True, text=True, timeout=CLIP_LIMIT_S, check=False)
    assert finished.returncode == 0, f"{argv}: {finished.stderr}"


class Clips:
    """Clips by file name, kept for the session: ``clips("a.mkv", seconds=1, rate="24000/1001")``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, **options: Any) -> Path:
        """The clip ``name``, made by :func:`make_clip` on the first call. Do not write to it."""
        path = self.folder / name
        if name not in self.made:
            make_clip(path, **options)
            self.made[name] = options
        assert self.made[name] == options, f"{name} was made with other options: choose another name"
        return path


def stage_context(folder: Path, mezzanine: Path | str, *, settings: dict[str, Any] | None = None, **title: Any) -> Any:
    """A stage's context for a title with this mezzanine, on a local store beneath ``folder`` unless told otherwise.

    Its catalog has no tables: the stages of these tests need none.

    Args:
        folder: Empty folder of the test.
        mezzanine: A file (its folder becomes a mezzanine root) or an address.
        settings: Further settings.
        title: Fields of the title job.
    """
    roots = (mezzanine.parent,) if isinstance(mezzanine, Path) else ()
    given = {"home": folder / "home", "store_uri": (folder / "store").as_uri(), "mezzanine_roots": roots}
    chosen = Settings(**{**given, "encode_slots": 1, **(settings or {})})
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "request_id": "batch1/title1",
        "batch_id": "batch1",
        "title_id": "title1",
        "run_key": "batch1.1",
        "pipeline": "vod",
        "pipeline_version": 3,
        "mezzanine": mezzanine.as_uri() if isinstance(mezzanine, Path) else mezzanine,
        "tier": Tier.UGC,
        **title,
    }
    return ControlContext(
        settings=chosen,
        store=open_store(chosen),
        title=TitleJob(**fields),
        scratch=scratch,
        catalog=Catalog(chosen.catalog_url),
    )
