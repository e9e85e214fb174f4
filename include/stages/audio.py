"""Audio: every language track as AAC at one loudness, encoded once and never in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.loudness import levelling, limited_lufs
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.ffmpeg.sound import taken
from include.adapters.ffmpeg.steady import Branch
from include.adapters.mezzanine import open_mezzanine
from include.adapters.tools import ffmpeg
from include.domain.media.changes import SoundState, most_channels, sound_finding
from include.domain.media.choosing import Sound, chosen_tracks, sounds
from include.domain.media.labels import file_name, sound_label, unique
from include.domain.media.loudness import Level, level, level_findings
from include.domain.media.media import AudioRole, AudioStream, Finding, Inspection
from include.domain.outcome.results import AudioRendition, AudioResult
from include.domain.recipe.codecs import AUDIO_RATE_HZ
from include.domain.title.title import TitleJob
from include.recipes import load_recipes
from include.stages.core import StageContext, stage
from include.stages.listening import (
    Heard,
    Layout,
    Version,
    batches,
    listen,
    listen_encoded,
    on_share,
    read_reports,
    track_filters,
)

SILENT_DBFS = -80.0
"""A track whose highest sample lies below is silent: the dither of 16 bits reaches about -87."""
LISTENED, ENCODED = 0.15, 0.8
"""Shares of the stage that are done when the tracks have been measured, and when they have been encoded."""
STEREO = Layout(name="stereo", channels=2, filter_name="stereo", bitrate_kbps=128)
SURROUND = Layout(name="surround", channels=6, filter_name="5.1", bitrate_kbps=384)


@dataclass(frozen=True, kw_only=True)
class Listened:
    """A sound that was measured in every layout in which it is published."""

    sound: Sound
    heard: dict[str, Heard]
    """By the layout's name."""

    @property
    def silent(self) -> bool:
        """Whether nothing is to be heard in it."""
        return self.heard[STEREO.name].loudness.sample_peak_dbfs < SILENT_DBFS

    @property
    def states(self) -> tuple[SoundState, ...]:
        """What changed on the way in the track that stereo is made of."""
        return self.heard[STEREO.name].states


@dataclass(frozen=True, kw_only=True)
class Job:
    """One encode: a version of a sound at its level."""

    version: Version
    heard: Heard
    level: Level
    sound: str
    """As of its :class:`AudioRendition`."""
    label: str
    default: bool


@stage
def audio(ctx: StageContext, title: TitleJob, source: Inspection) -> AudioResult:
    """Encode the sounds that the title wants: AAC stereo always, 5.1 as well where the source has it."""
    if not source.audio:
        return AudioResult(warnings=(Finding(code="no_audio", message="the mezzanine has no audio"),))
    tracks, warnings = chosen_tracks(source.audio, title.languages)
    listed, left_out = sounds(tracks)
    opened = open_mezzanine(ctx, source)
    kept, found = _audible(ctx, opened, source, listed)
    jobs = _encode(ctx, opened, _jobs(ctx, title, kept), duration_s=source.duration_s)
    levelled = [finding for job in jobs for finding in _level_findings(ctx, job)]
    renditions = []
    for position, job in enumerate(jobs):

        def so_far(share: float, job: Job = job, before: int = position) -> None:
            done = ENCODED + (1 - ENCODED) * (before + share) / len(jobs)
            ctx.report(done, f"measuring {job.version.name}: {share:.0%} of {source.duration_s:.0f} s")

        renditions.append(_rendition(ctx, job, duration_s=source.duration_s, report=so_far))
    return AudioResult(renditions=tuple(renditions), warnings=(*warnings, *left_out, *found, *levelled))


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
) -> tuple[list[Listened], list[Finding]]:
    """The sounds in which something is to be heard, measured from end to end, and what was found of the others."""
    found: list[Finding] = []
    first = _listen(ctx, opened, source, listed)
    # What has turned out to be another sound than its container says is measured once more, in one read again.
    others = {number: other for number, each in enumerate(first) if (other := _other(each, found)) is not None}
    again = dict(zip(others, _listen(ctx, opened, source, list(others.values())), strict=True))
    measured = [again.get(number, each) for number, each in enumerate(first)]
    for each in first:
        changed = sound_finding(each.states, each.sound.track.language)
        found += [changed] if changed else []
    kept = [each for each in measured if not each.silent]
    if not any(each.sound.track.role is AudioRole.MAIN for each in kept):
        # A title is not left without its main sound, though that may be silence.
        kept.insert(0, measured[0])
    lost = [each.sound.track for each in measured if all(each is not other for other in kept)]
    if lost:
        named = ", ".join(f"{track.language} (stream {track.index})" for track in lost)
        message = f"audio tracks in which nothing is to be heard are left out: {named}"
        found.append(Finding(code="silent_audio", message=message))
    return kept, found


def _listen(ctx: StageContext, opened: OpenedMezzanine, source: Inspection, listed: Sequence[Sound]) -> list[Listened]:
    """Each of the sounds, measured in every layout."""
    wanted = [
        [Version(name=f"s{number}_{layout.name}", track=track, layout=layout) for track, layout in versions(sound)]
        for number, sound in enumerate(listed)
    ]
    heard = listen(
        ctx,
        opened,
        [version for own in wanted for version in own],
        duration_s=source.duration_s,
        report=lambda share: ctx.report(LISTENED * share, f"listening: {share:.0%} of {source.duration_s:.0f} s"),
    )
    return [
        Listened(sound=sound, heard={version.layout.name: heard[version.name] for version in own})
        for sound, own in zip(listed, wanted, strict=True)
    ]


def _other(listened: Listened, found: list[Finding]) -> Sound | None:
    """The sound that was really heard; None where it is what its container says. What is odd is added to ``found``."""
    sound = listened.sound
    half = _half(listened)
    if half is not None:
        message = f"of the mono tracks joined from stream {sound.track.index} on one is silent: the other is played"
        found.append(Finding(code="half_silent", message=message))
        return Sound(track=half)
    if sound.surround is None and most_channels(listened.states) > max(sound.track.channels, STEREO.channels):
        # Its container was read where it is stereo: all of it has been heard by now.
        return Sound(track=sound.track, surround=sound.track)
    return None


def _half(listened: Listened) -> AudioStream | None:
    """The one of two joined mono tracks that has all the sound; None where both have, or neither."""
    track, peaks = listened.sound.track, listened.heard[STEREO.name].channel_peaks_dbfs
    if len(track.streams) != 2 or len(track.taps) != 2 or len(peaks) != 2 or listened.silent:
        return None
    loud = [tap for tap, peak in zip(track.taps, peaks, strict=True) if peak >= SILENT_DBFS]
    if len(loud) != 1:
        return None
    return track.model_copy(update={"taps": tuple(loud), "channels": 1, "channel_layout": "mono"})


def _jobs(ctx: StageContext, title: TitleJob, kept: Sequence[Listened]) -> list[Job]:
    """What is encoded of the sounds, each at its level."""
    limiter_db = load_recipes().tiers[title.tier].limiter_db
    jobs: list[Job] = []
    names = sound_names([each.sound for each in kept])
    for position, (each, name) in enumerate(zip(kept, names, strict=True)):
        for track, layout in versions(each.sound):
            heard = each.heard[layout.name]
            chosen = level(
                heard.loudness,
                target_lufs=ctx.settings.loudness_target_lufs,
                ceiling_dbtp=ctx.settings.true_peak_dbtp,
                limiter_db=limiter_db,
            )
            jobs.append(
                Job(
                    version=Version(name=f"aac_{name}_{layout.name}", track=track, layout=layout),
                    heard=heard,
                    level=chosen,
                    sound=name,
                    label=sound_label(track.language, each.sound.title, track.role),
                    default=position == 0,
                )
            )
    return jobs


def _level_findings(ctx: StageContext, job: Job) -> tuple[Finding, ...]:
    return level_findings(
        job.heard.loudness,
        job.level,
        name=f"{job.version.track.language}, {job.version.layout.name}",
        target_lufs=ctx.settings.loudness_target_lufs,
        ceiling_dbtp=ctx.settings.true_peak_dbtp,
    )


def encode_argv(
    program: str, source: OpenedMezzanine, batch: Sequence[Sequence[Job]], folder: Path, *, duration_s: float
) -> list[str]:
    """The command that encodes tracks of a mezzanine, each decoded once, to audio-only MP4s of their names."""
    # Where there is a limiter, it is told how loud the sound is behind it.
    limited = any(job.level.limited_db for own in batch for job in own)
    argv = prelude(program, level="level+info" if limited else "level+warning", overwrite=True, progress=True)
    argv += ["-filter_complex_threads", "1", *source.argv()]
    for number, own in enumerate(batch):
        branches = [
            Branch(
                name=f"t{number}_{job.version.layout.name}",
                channel_layout=job.version.layout.filter_name,
                filters=(
                    *track_filters(job.version.track, job.version.layout, duration_s=duration_s),
                    *levelling(job.level, job.version.name),
                ),
            )
            for job in own
        ]
        argv += taken(own[0].version.track, f"t{number}", branches)
    for number, own in enumerate(batch):
        for job in own:
            layout = job.version.layout
            argv += ["-map", f"[t{number}_{layout.name}]", "-c:a", "aac", "-b:a", f"{layout.bitrate_kbps}k"]
            argv += ["-ac", str(layout.channels), "-ar", str(AUDIO_RATE_HZ), "-map_metadata", "-1"]
            argv += ["-map_chapters", "-1", "-f", "mp4", str(folder / f"{job.version.name}.mp4")]
    return argv


def _encode(ctx: StageContext, opened: OpenedMezzanine, jobs: Sequence[Job], *, duration_s: float) -> list[Job]:
    """Encode all tracks into the scratch folder; the same jobs, with the loudness that is due behind a limiter."""
    by_name = {job.version.name: job for job in jobs}
    todo = list(batches([job.version for job in jobs]))
    due: dict[str, Job] = {}
    for number, batch in enumerate(todo):
        tracks = [[by_name[version.name] for version in own] for own in batch]
        argv = encode_argv(ffmpeg(ctx.settings), opened, tracks, ctx.scratch, duration_s=duration_s)

        def so_far(share: float, before: int = number) -> None:
            done = LISTENED + (ENCODED - LISTENED) * (before + share) / len(todo)
            ctx.report(done, f"encoding {len(jobs)} audio tracks: {share:.0%} of {duration_s:.0f} s")

        limited = [job for own in tracks for job in own if job.level.limited_db]

        def read(stderr: str, limited: Sequence[Job] = limited) -> dict[str, Job]:
            return {job.version.name: _limited(stderr, job) for job in limited}

        due |= read_reports(ctx, argv, on_share(so_far, duration_s=duration_s), read)
    return [due.get(job.version.name, job) for job in jobs]


def _limited(stderr: str, job: Job) -> Job:
    """A job whose sound passed a limiter: what that took from the loudness is due to it no more."""
    due_lufs = limited_lufs(stderr, job.version.name)
    return replace(job, level=replace(job.level, due_lufs=due_lufs))


def _rendition(ctx: StageContext, job: Job, *, duration_s: float, report: Callable[[float], None]) -> AudioRendition:
    """An encoded track, measured and put into the store."""
    version, name = job.version, job.version.name
    output = ctx.scratch / f"{name}.mp4"
    encoded_s, result = listen_encoded(ctx, output, duration_s=duration_s, report=report)
    size = output.stat().st_size
    key = ctx.key(f"audio/{name}.mp4")
    ctx.store.put_file(key, output)
    source = job.heard.loudness
    return AudioRendition(
        name=name,
        uri=key,
        streams=version.track.streams,
        taps=version.track.taps,
        codec="aac",
        channels=version.layout.channels,
        language=version.track.language,
        label=job.label,
        default=job.default,
        sound=job.sound,
        bitrate_kbps=round(size * 8 / 1000 / max(encoded_s, 0.001)),
        duration_s=encoded_s,
        source_lufs=source.integrated_lufs,
        source_range_lu=source.range_lu if source.integrated_lufs is not None else None,
        source_peak_dbtp=source.true_peak_dbtp if source.integrated_lufs is not None else None,
        gain_db=job.level.gain_db,
        limited_db=job.level.limited_db,
        due_lufs=job.level.due_lufs,
        loudness_lufs=result.integrated_lufs,
        true_peak_dbtp=result.true_peak_dbtp if result.integrated_lufs is not None else None,
        role=version.track.role,
    )
