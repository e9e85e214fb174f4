"""Audio: every language track as AAC at one loudness, encoded once and never in chunks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from include.adapters.ffmpeg.commands import input_argv, prelude
from include.adapters.ffmpeg.reading import Loudness, parse_loudnorm, time_reached_s
from include.adapters.mezzanine import open_mezzanine
from include.adapters.process import Finished, failed, run
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed
from include.base.settings import Settings
from include.domain.media.labels import label, matches
from include.domain.media.media import AudioStream, Finding, Inspection
from include.domain.outcome.results import AudioRendition, AudioResult
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage

SAMPLE_RATE_HZ = 48_000
SURROUND_CHANNELS = 6
SHORTEST_MEASURED_S = 0.4
"""One gating block of EBU R128."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to publish a track."""

    name: str
    channels: int
    filter_name: str
    """ffmpeg's channel layout."""
    bitrate_kbps: int


STEREO = Layout(name="stereo", channels=2, filter_name="stereo", bitrate_kbps=128)
SURROUND = Layout(name="surround", channels=6, filter_name="5.1", bitrate_kbps=384)


@stage
def audio(ctx: StageContext, title: TitleJob, source: Inspection) -> AudioResult:
    """Encode the audio tracks that the title wants: AAC stereo always, 5.1 as well where the source has it."""
    if not source.audio:
        return AudioResult(warnings=(Finding(code="no_audio", message="the mezzanine has no audio"),))
    tracks, warnings = chosen_tracks(source.audio, title.languages)
    address = open_mezzanine(ctx, source)
    jobs = [(track, layout) for track in tracks for layout in layouts(track)]
    names: set[str] = set()
    renditions = []
    for position, (track, layout) in enumerate(jobs):
        ctx.report(position / len(jobs), f"audio {track.language} {layout.name}")
        name = _name(track.language, layout, names)
        renditions.append(_encode(ctx, address, source, track, layout, name, default=track is tracks[0]))
    return AudioResult(renditions=tuple(renditions), warnings=warnings)


def chosen_tracks(
    tracks: tuple[AudioStream, ...], languages: tuple[str, ...]
) -> tuple[list[AudioStream], tuple[Finding, ...]]:
    """The tracks to publish, the default one first: all of them where none is in a wanted language."""
    wanted = [track for track in tracks if not languages or matches(track.language, languages)]
    warnings = []
    if not wanted:
        there = ", ".join(dict.fromkeys(track.language for track in tracks))
        message = f"no audio track in {', '.join(languages)}; all tracks are kept ({there})"
        warnings.append(Finding(code="language_missing", message=message))
    kept = wanted or list(tracks)
    return sorted(kept, key=lambda track: not track.default), tuple(warnings)


def layouts(track: AudioStream) -> tuple[Layout, ...]:
    """Stereo always, 5.1 where the source has at least that."""
    return (STEREO, SURROUND) if track.channels >= SURROUND_CHANNELS else (STEREO,)


def track_filters(layout: Layout, *, duration_s: float) -> list[str]:
    """From a decoded track to what is measured and encoded: its channels, and the video's time from 0 to its end."""
    samples = round(duration_s * SAMPLE_RATE_HZ)
    return [
        f"aformat=channel_layouts={layout.filter_name}",
        # From zero on: a track that starts late gets silence, one that starts early is cut, gaps are filled.
        f"aresample={SAMPLE_RATE_HZ}:async=1:first_pts=0",
        "apad",
        f"atrim=end_sample={samples}",
    ]


def normalising_filters(
    measured: Loudness, *, target_lufs: float, true_peak_dbtp: float, duration_s: float
) -> list[str]:
    """The second pass of loudnorm; none for silence, which has no loudness to move."""
    if measured.integrated_lufs is None or measured.true_peak_dbtp is None:
        return []
    # A target below the measured range would make loudnorm compress the programme: we move its level only. A measured
    # range of 0.0 it takes for not measured.
    measured_range = max(0.1, measured.range_lu)
    loudness_range = min(50.0, max(7.0, math.ceil(measured_range)))
    return [
        f"loudnorm=I={target_lufs}:TP={true_peak_dbtp}:LRA={loudness_range}:linear=true"
        f":measured_I={measured.integrated_lufs}:measured_TP={measured.true_peak_dbtp}"
        f":measured_LRA={measured_range}:measured_thresh={measured.threshold_lufs}:offset={measured.offset_lu}",
        # Where it has to limit peaks it works, and would go on, at 192 kHz.
        f"aresample={SAMPLE_RATE_HZ}",
        # It fills its last block of 100 ms, and where it limits peaks it skips in its timestamps.
        "asetpts=N/SR/TB",
        f"atrim=end_sample={round(duration_s * SAMPLE_RATE_HZ)}",
    ]


def measure_argv(program: str, address: str, selector: str, filters: list[str], settings: Settings) -> list[str]:
    """The first pass of loudnorm, over the stream ``selector`` behind ``filters``."""
    loudnorm = f"loudnorm=I={settings.loudness_target_lufs}:TP={settings.true_peak_dbtp}:print_format=json"
    chain = ",".join([*filters, loudnorm])
    outputs = ["-map", selector, "-af", chain, "-f", "null", "-"]
    return [*prelude(program, level="info"), *input_argv(address), *outputs]


def encode_argv(
    program: str, address: str, track: AudioStream, filters: list[str], layout: Layout, output: Path
) -> list[str]:
    """The encode of one track to an audio-only MP4."""
    return [
        *prelude(program, level="level+warning", overwrite=True),
        *input_argv(address),
        *("-map", f"0:{track.index}", "-af", ",".join(filters)),
        *("-c:a", "aac", "-b:a", f"{layout.bitrate_kbps}k", "-ac", str(layout.channels), "-ar", str(SAMPLE_RATE_HZ)),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-f", "mp4", str(output)),
    ]


def _encode(
    ctx: StageContext,
    address: str,
    source: Inspection,
    track: AudioStream,
    layout: Layout,
    name: str,
    *,
    default: bool,
) -> AudioRendition:
    settings = ctx.settings
    duration_s = source.video.start_time_s + source.video.duration_s
    filters = track_filters(layout, duration_s=duration_s)
    measured = _measured(ctx, address, f"0:{track.index}", filters, duration_s)
    normalise = normalising_filters(
        measured,
        target_lufs=settings.loudness_target_lufs,
        true_peak_dbtp=settings.true_peak_dbtp,
        duration_s=duration_s,
    )
    output = ctx.scratch / f"{name}.mp4"
    argv = encode_argv(ffmpeg(settings), address, track, [*filters, *normalise], layout, output)
    finished = run(argv, timeout_s=ctx.time_left_s)
    encoded_s = _encoded_duration(ctx, output, finished)
    result = _measured(ctx, str(output), "0:a:0", [], duration_s)
    size = output.stat().st_size
    key = ctx.key(f"audio/{name}.mp4")
    ctx.store.put_file(key, output)
    return AudioRendition(
        name=name,
        uri=key,
        codec="aac",
        channels=layout.channels,
        language=track.language,
        label=label(track.language, track.title),
        bitrate_kbps=round(size * 8 / 1000 / max(encoded_s, 0.001)),
        duration_s=encoded_s,
        source_lufs=measured.integrated_lufs,
        loudness_lufs=result.integrated_lufs,
        true_peak_dbtp=result.true_peak_dbtp,
        default=default,
    )


def _measured(ctx: StageContext, address: str, selector: str, filters: list[str], duration_s: float) -> Loudness:
    if duration_s < SHORTEST_MEASURED_S:
        return Loudness(integrated_lufs=None, true_peak_dbtp=None)
    argv = measure_argv(ffmpeg(ctx.settings), address, selector, filters, ctx.settings)
    finished = run(argv, timeout_s=ctx.time_left_s)
    try:
        return parse_loudnorm(finished.stderr)
    except ValueError as error:
        raise failed(finished, EncoderCrashed, f"the loudness cannot be measured: {error}") from error


def _encoded_duration(ctx: StageContext, output: Path, encoded: Finished) -> float:
    """Presented seconds of the encoded track, by a decode; raises where it does not decode."""
    argv = prelude(ffmpeg(ctx.settings), level="error", progress=True)
    argv += ["-xerror", "-i", f"file:{output}", "-f", "null", "-"]
    finished = run(argv, timeout_s=ctx.time_left_s)
    encoded_s = time_reached_s(finished.stdout)
    if encoded_s == 0:
        raise failed(encoded, EncoderCrashed, "ffmpeg ended well but encoded no audio")
    return encoded_s


def _name(language: str, layout: Layout, taken: set[str]) -> str:
    tag = re.sub(r"[^A-Za-z0-9-]", "", language) or "und"
    number, name = 2, f"aac_{tag}_{layout.name}"
    while name in taken:
        name, number = f"aac_{tag}_{number}_{layout.name}", number + 1
    taken.add(name)
    return name
