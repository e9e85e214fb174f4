"""Audio: every language track as AAC at one loudness, encoded once and never in chunks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from include.adapters.ffmpeg.changes import sound_states
from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.ffmpeg.reading import Loudness, parse_loudnorm, parse_peaks, time_reached_s
from include.adapters.ffmpeg.sound import mapped
from include.adapters.mezzanine import open_mezzanine
from include.adapters.process import Finished, failed, run
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed
from include.base.settings import Settings
from include.domain.media.changes import SoundState, most_channels, sound_finding
from include.domain.media.choosing import Sound, chosen_tracks, sounds
from include.domain.media.labels import file_name, sound_label, unique
from include.domain.media.media import AudioRole, AudioStream, Finding, Inspection
from include.domain.outcome.results import AudioRendition, AudioResult
from include.domain.recipe.codecs import AUDIO_RATE_HZ
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage

LOUDEST_LUFS = 0.0
"""The most that loudnorm takes for measured."""
SHORTEST_MEASURED_S = 0.4
"""One gating block of EBU R128."""
SILENT_DBFS = -80.0
"""A track whose highest sample lies below is silent: the dither of 16 bits reaches about -87."""
PEAKS = "astats=measure_perchannel=Peak_level:measure_overall=none"


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


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A track as it would be encoded: how loud, the highest sample of each channel, and what changed on the way."""

    loudness: Loudness
    peaks_dbfs: tuple[float, ...]
    states: tuple[SoundState, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether nothing is to be heard in it."""
        return bool(self.peaks_dbfs) and max(self.peaks_dbfs) < SILENT_DBFS


@stage
def audio(ctx: StageContext, title: TitleJob, source: Inspection) -> AudioResult:
    """Encode the sounds that the title wants: AAC stereo always, 5.1 as well where the source has it."""
    if not source.audio:
        return AudioResult(warnings=(Finding(code="no_audio", message="the mezzanine has no audio"),))
    tracks, warnings = chosen_tracks(source.audio, title.languages)
    listed, left_out = sounds(tracks)
    opened = open_mezzanine(ctx, source)
    kept, silent = _audible(ctx, opened, source, listed)
    names = sound_names([sound for sound, _ in kept])
    jobs = [
        (sound, name, version, layout, measured if layout is STEREO else None)
        for (sound, measured), name in zip(kept, names, strict=True)
        for version, layout in versions(sound)
    ]
    renditions = []
    for position, (sound, name, track, layout, known) in enumerate(jobs):
        ctx.report(0.5 + position / len(jobs) / 2, f"audio {name} {layout.name}")
        rendition = _encode(ctx, opened, source, track, layout, f"aac_{name}_{layout.name}", known)
        described = {
            "label": sound_label(track.language, sound.title, track.role),
            "default": sound is kept[0][0],
            "sound": name,
        }
        renditions.append(rendition.model_copy(update=described))
    return AudioResult(renditions=tuple(renditions), warnings=(*warnings, *left_out, *silent))


def versions(sound: Sound) -> tuple[tuple[AudioStream, Layout], ...]:
    """What is made of a sound: stereo always, 5.1 where the source has at least that."""
    stereo = (sound.track, STEREO)
    return (stereo,) if sound.surround is None else (stereo, (sound.surround, SURROUND))


def sound_names(listed: Sequence[Sound]) -> list[str]:
    """A name for each sound, part of names of files: language, number where that is taken, and role."""
    names: list[str] = []
    taken: set[str] = set()
    for sound in listed:
        tag, role = file_name(sound.track.language), sound.track.role
        names.append(unique(tag if role is AudioRole.MAIN else f"{tag}_{role}", taken, joint="_"))
    return names


def _audible(
    ctx: StageContext, opened: OpenedMezzanine, source: Inspection, listed: Sequence[Sound]
) -> tuple[list[tuple[Sound, Measured]], list[Finding]]:
    """The sounds in which something is to be heard, measured from end to end, and what was found of the others."""
    measured: list[tuple[Sound, Measured]] = []
    found: list[Finding] = []
    for position, sound in enumerate(listed):
        ctx.report(position / len(listed) / 2, f"listening to {sound.track.language}")
        heard = _measured_track(ctx, opened, source, sound.track, STEREO)
        half = _half(sound.track, heard)
        if half is not None:
            message = f"of the mono tracks joined from stream {sound.track.index} on one is silent: the other is played"
            found.append(Finding(code="half_silent", message=message))
            sound = Sound(track=half)
            heard = _measured_track(ctx, opened, source, half, STEREO)
        elif sound.surround is None and most_channels(heard.states) > max(sound.track.channels, STEREO.channels):
            # Its container was read where it is stereo: all of it has been heard by now.
            sound = Sound(track=sound.track, surround=sound.track)
        loudness = heard.loudness.integrated_lufs
        if loudness is not None and loudness > LOUDEST_LUFS:
            message = (
                f"the sound ({sound.track.language}) is above full scale ({loudness:.1f} LUFS): it is brought down"
            )
            found.append(Finding(code="hot_audio", message=message))
        changed = sound_finding(heard.states, sound.track.language)
        found += [changed] if changed else []
        measured.append((sound, heard))
    kept = [(sound, heard) for sound, heard in measured if not heard.silent]
    if not any(sound.track.role is AudioRole.MAIN for sound, _ in kept):
        # A title is not left without its main sound, though that may be silence.
        kept.insert(0, measured[0])
    lost = [sound for sound, _ in measured if all(sound is not each for each, _ in kept)]
    if lost:
        named = ", ".join(f"{sound.track.language} (stream {sound.track.index})" for sound in lost)
        message = f"audio tracks in which nothing is to be heard are left out: {named}"
        found.append(Finding(code="silent_audio", message=message))
    return kept, found


def _half(track: AudioStream, heard: Measured) -> AudioStream | None:
    """The one of two joined mono tracks that has all the sound; None where both have, or neither."""
    if len(track.streams) != 2 or len(track.taps) != 2 or len(heard.peaks_dbfs) != 2 or heard.silent:
        return None
    loud = [tap for tap, peak in zip(track.taps, heard.peaks_dbfs, strict=True) if peak >= SILENT_DBFS]
    if len(loud) != 1:
        return None
    return track.model_copy(update={"taps": tuple(loud), "channels": 1, "channel_layout": "mono"})


def track_filters(layout: Layout, *, duration_s: float) -> list[str]:
    """From a decoded track to what is measured and encoded: its channels, and the title's time from 0 to its end."""
    samples = round(duration_s * AUDIO_RATE_HZ)
    return [
        f"aformat=channel_layouts={layout.filter_name}",
        # From zero on: a track that starts late gets silence, one that starts early is cut, gaps are filled.
        f"aresample={AUDIO_RATE_HZ}:async=1:first_pts=0",
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
    lowered = []
    if measured.integrated_lufs > LOUDEST_LUFS:
        # It takes no measurement above full scale, which floating point can hold.
        down_db = measured.integrated_lufs - target_lufs
        lowered = [f"volume={-down_db:.2f}dB"]
        measured = dataclasses.replace(
            measured,
            integrated_lufs=round(target_lufs, 2),
            true_peak_dbtp=round(measured.true_peak_dbtp - down_db, 2),
            threshold_lufs=round(measured.threshold_lufs - down_db, 2),
        )
    return [
        *lowered,
        f"loudnorm=I={target_lufs}:TP={true_peak_dbtp}:LRA={loudness_range}:linear=true"
        f":measured_I={measured.integrated_lufs}:measured_TP={measured.true_peak_dbtp}"
        f":measured_LRA={measured_range}:measured_thresh={measured.threshold_lufs}:offset={measured.offset_lu}",
        # Where it has to limit peaks it works, and would go on, at 192 kHz.
        f"aresample={AUDIO_RATE_HZ}",
        # It fills its last block of 100 ms, and where it limits peaks it skips in its timestamps.
        "asetpts=N/SR/TB",
        f"atrim=end_sample={round(duration_s * AUDIO_RATE_HZ)}",
    ]


def measure_argv(
    program: str,
    source: OpenedMezzanine,
    track: AudioStream,
    filters: list[str],
    settings: Settings,
    *,
    layout: Layout | None = None,
) -> list[str]:
    """The first pass of loudnorm, over a track behind ``filters``; the peak of each channel as well.

    A track of a mezzanine is brought to ``layout`` first.
    """
    loudnorm = f"loudnorm=I={settings.loudness_target_lufs}:TP={settings.true_peak_dbtp}:print_format=json"
    sound = mapped(track, [*filters, PEAKS, loudnorm], channel_layout=layout.filter_name if layout else None)
    return [*prelude(program, level="info"), *source.argv(), *sound, "-f", "null", "-"]


def encode_argv(
    program: str, source: OpenedMezzanine, track: AudioStream, filters: list[str], layout: Layout, output: Path
) -> list[str]:
    """The encode of one track to an audio-only MP4."""
    return [
        *prelude(program, level="level+warning", overwrite=True),
        *source.argv(),
        *mapped(track, filters, channel_layout=layout.filter_name),
        *("-c:a", "aac", "-b:a", f"{layout.bitrate_kbps}k", "-ac", str(layout.channels), "-ar", str(AUDIO_RATE_HZ)),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-f", "mp4", str(output)),
    ]


def _encode(
    ctx: StageContext,
    opened: OpenedMezzanine,
    source: Inspection,
    track: AudioStream,
    layout: Layout,
    name: str,
    known: Measured | None,
) -> AudioRendition:
    """Encode one track in one layout; ``known`` is what was measured of just that."""
    settings = ctx.settings
    duration_s = source.duration_s
    filters = track_filters(layout, duration_s=duration_s)
    measured = (known or _measured_track(ctx, opened, source, track, layout)).loudness
    normalise = normalising_filters(
        measured,
        target_lufs=settings.loudness_target_lufs,
        true_peak_dbtp=settings.true_peak_dbtp,
        duration_s=duration_s,
    )
    output = ctx.scratch / f"{name}.mp4"
    argv = encode_argv(ffmpeg(settings), opened, track, [*filters, *normalise], layout, output)
    finished = run(argv, timeout_s=ctx.time_left_s, folder=ctx.scratch)
    encoded_s = _encoded_duration(ctx, output, finished)
    encoded = OpenedMezzanine(address=str(output))
    result = _measured(ctx, encoded, track.model_copy(update={"index": 0, "taps": ()}), [], duration_s).loudness
    size = output.stat().st_size
    key = ctx.key(f"audio/{name}.mp4")
    ctx.store.put_file(key, output)
    return AudioRendition(
        name=name,
        uri=key,
        streams=track.streams,
        taps=track.taps,
        codec="aac",
        channels=layout.channels,
        language=track.language,
        label="",
        sound="",
        bitrate_kbps=round(size * 8 / 1000 / max(encoded_s, 0.001)),
        duration_s=encoded_s,
        source_lufs=measured.integrated_lufs,
        loudness_lufs=result.integrated_lufs,
        true_peak_dbtp=result.true_peak_dbtp,
        role=track.role,
    )


def _measured_track(
    ctx: StageContext, opened: OpenedMezzanine, source: Inspection, track: AudioStream, layout: Layout
) -> Measured:
    duration_s = source.duration_s
    return _measured(ctx, opened, track, track_filters(layout, duration_s=duration_s), duration_s, layout=layout)


def _measured(
    ctx: StageContext,
    opened: OpenedMezzanine,
    track: AudioStream,
    filters: list[str],
    duration_s: float,
    *,
    layout: Layout | None = None,
) -> Measured:
    argv = measure_argv(ffmpeg(ctx.settings), opened, track, filters, ctx.settings, layout=layout)
    finished = run(argv, timeout_s=ctx.time_left_s)
    peaks, states = parse_peaks(finished.stderr), sound_states(finished.stderr)
    if duration_s < SHORTEST_MEASURED_S:
        return Measured(loudness=Loudness(integrated_lufs=None, true_peak_dbtp=None), peaks_dbfs=peaks, states=states)
    try:
        return Measured(loudness=parse_loudnorm(finished.stderr), peaks_dbfs=peaks, states=states)
    except ValueError as error:
        raise failed(finished, EncoderCrashed, f"the loudness cannot be measured: {error}") from error


def _encoded_duration(ctx: StageContext, output: Path, encoded: Finished) -> float:
    """Presented seconds of the encoded track, by a decode; raises where it does not decode."""
    argv = prelude(ffmpeg(ctx.settings), level="error", progress=True)
    argv += ["-xerror", "-i", f"file:{output}", "-f", "null", "-"]
    finished = run(argv, timeout_s=ctx.time_left_s, folder=ctx.scratch)
    encoded_s = time_reached_s(finished.stdout)
    if encoded_s == 0:
        raise failed(encoded, EncoderCrashed, "ffmpeg ended well but encoded no audio")
    return encoded_s
