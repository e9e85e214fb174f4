"""Shaka Packager: encoded tracks in, one CMAF set with media playlists and a DASH manifest out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from pathlib import Path

from include.adapters.manifests.contents import DASH, IFRAMES, MEDIA
from include.adapters.process import Finished, run
from include.adapters.tools import packager
from include.base.errors import PackagerFailed
from include.base.settings import Settings

PACKAGER_MASTER = "packager.m3u8"
"""The packager writes media playlists only together with a master; ours is written from what is measured."""
SEGMENT = "$Number%05d$.m4s"
INPUTS = "inputs"
IO_CACHE_BYTES = 2 * 1024**2


@dataclass(frozen=True, kw_only=True)
class VideoInput:
    """A video-only MP4."""

    name: str
    path: Path
    hls: bool
    """False leaves it to DASH."""
    dash: bool = True
    """False leaves it to HLS."""


@dataclass(frozen=True, kw_only=True)
class AudioInput:
    """An audio-only MP4."""

    name: str
    path: Path
    group: str
    """HLS group: the same languages in another layout are another group."""


def packager_argv(
    program: str, videos: Sequence[VideoInput], audios: Sequence[AudioInput], *, segment_s: Fraction, gop_s: Fraction
) -> list[str]:
    """The command, to be run in the set's folder with the inputs linked beneath ``inputs/``.

    Args:
        program: Shaka Packager.
        videos: Lowest rung first.
        audios: The default track first.
        segment_s: Whole GOPs.
        gop_s: Distance of the keyframes.
    """
    streams = [_video(video) for video in videos] + [_audio(audio) for audio in audios]
    return [
        program,
        "--quiet",
        *(",".join(f"{name}={value}" for name, value in stream.items()) for stream in streams),
        "--segment_duration",
        _seconds(segment_s),
        # One fragment per GOP: the I-frame playlists list the first frame of each fragment and no other.
        "--fragment_duration",
        _seconds(gop_s),
        "--hls_master_playlist_output",
        PACKAGER_MASTER,
        "--hls_playlist_type",
        "VOD",
        "--mpd_output",
        DASH,
        "--generate_static_live_mpd",
        # By default its threads for reading and writing take 32 MiB for each file that it opens, which it clears first.
        # Without a cache at all (0) it does without those threads, and 4 of 290 runs never ended.
        "--io_cache_size",
        str(IO_CACHE_BYTES),
        # Without it the order in the manifests is that of a race between threads.
        "--force_cl_index",
    ]


def make_set(
    settings: Settings,
    folder: Path,
    videos: Sequence[VideoInput],
    audios: Sequence[AudioInput],
    *,
    segment_s: Fraction,
    gop_s: Fraction,
    timeout_s: float,
) -> Finished:
    """Package the tracks into ``folder``; raises :class:`PackagerFailed`."""
    inputs = folder / INPUTS
    inputs.mkdir()
    # Stream descriptors are split at commas: the tool gets names of ours, never a path of this machine.
    sources = {video.name: video.path for video in videos} | {audio.name: audio.path for audio in audios}
    for name, path in sources.items():
        (inputs / f"{name}.mp4").symlink_to(os.path.abspath(path))  # noqa: PTH100  # must not follow links
    argv = packager_argv(packager(settings), videos, audios, segment_s=segment_s, gop_s=gop_s)
    read = [os.path.abspath(path) for path in sources.values()]  # noqa: PTH100  # the same
    finished = run(argv, timeout_s=timeout_s, failure=PackagerFailed, cwd=folder, reads=read)
    for link in inputs.iterdir():
        link.unlink()
    inputs.rmdir()
    (folder / PACKAGER_MASTER).unlink(missing_ok=True)
    return finished


def _video(video: VideoInput) -> dict[str, str]:
    folder = f"video/{video.name}"
    playlists = {"playlist_name": f"{folder}/{MEDIA}", "iframe_playlist_name": f"{folder}/{IFRAMES}"}
    return {
        "in": f"{INPUTS}/{video.name}.mp4",
        "stream": "video",
        "init_segment": f"{folder}/init.mp4",
        "segment_template": f"{folder}/{SEGMENT}",
        **(playlists if video.hls else {"dash_only": "1"}),
        **({} if video.dash else {"hls_only": "1"}),
    }


def _audio(audio: AudioInput) -> dict[str, str]:
    folder = f"audio/{audio.name}"
    return {
        "in": f"{INPUTS}/{audio.name}.mp4",
        "stream": "audio",
        # No language: the tool refuses tags that it does not know, and a mezzanine may carry any. The manifests say it.
        "init_segment": f"{folder}/init.mp4",
        "segment_template": f"{folder}/{SEGMENT}",
        "playlist_name": f"{folder}/{MEDIA}",
        "hls_group_id": audio.group,
        "hls_name": audio.name,
        # Two tracks of one language would share an adaptation set, as if one were a rung of the other.
        "dash_label": audio.name,
    }


def _seconds(value: Fraction) -> str:
    """Rounded down: a boundary that lies a microsecond behind a keyframe would fall to the next one."""
    return str((Decimal(value.numerator) / Decimal(value.denominator)).quantize(Decimal("0.000001"), ROUND_FLOOR))
