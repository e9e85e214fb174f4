"""Measures the loudness of sounds: all of them in one read of the mezzanine, each track decoded once.

A part of the stage ``audio``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from include.adapters.ffmpeg.changes import sound_states
from include.adapters.ffmpeg.commands import EncoderProgress, prelude
from include.adapters.ffmpeg.following import follow
from include.adapters.ffmpeg.loudness import beyond_measure, channel_peaks, measured, measuring
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.ffmpeg.reading import time_reached_s
from include.adapters.ffmpeg.sound import by_its_times, taken
from include.adapters.ffmpeg.steady import Branch
from include.adapters.process import failed
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed
from include.domain.media.changes import SoundState
from include.domain.media.loudness import Loudness
from include.domain.media.media import AudioStream
from include.domain.recipe.codecs import AUDIO_RATE_HZ
from include.stages.core import StageContext

SHORTEST_MEASURED_S = 0.4
"""One gating block of EBU R128."""
LATE_S = 10.0
"""A track that starts later by more than this has its silence made piece by piece; up to so much its start may really
be earlier than its container says."""
MOST_TRACKS = 8
"""Decoded in one read: each has a handful of threads, and each thread a stack that counts as memory."""
NOWHERE = ("-c:a", "pcm_f32le", "-f", "null", "-")
"""An output that is thrown away, in floating point: making whole numbers of the samples costs as much as measuring."""
T = TypeVar("T")
TRIES = 4
"""Of one measurement (:func:`include.adapters.ffmpeg.loudness.measured`)."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to publish a track."""

    name: str
    channels: int
    filter_name: str
    """ffmpeg's channel layout."""
    bitrate_kbps: int


@dataclass(frozen=True, kw_only=True)
class Version:
    """One track in one layout."""

    name: str
    """In a command: letters, digits and underscores."""
    track: AudioStream
    layout: Layout
    lowered_db: float = 0.0
    """By how much it is lowered before it is measured."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A version as it would be encoded: how loud, the highest sample of each channel, and what changed on the way."""

    loudness: Loudness
    channel_peaks_dbfs: tuple[float, ...] = ()
    """Of joined mono tracks."""
    states: tuple[SoundState, ...] = ()


def on_share(report: Callable[[float], None], *, duration_s: float) -> Callable[[EncoderProgress], None]:
    """What takes ffmpeg's progress, and reports the share of ``duration_s`` that is done."""

    def told(state: EncoderProgress) -> None:
        if state.out_time_s is not None and duration_s > 0:
            report(min(1.0, max(0.0, state.out_time_s / duration_s)))

    return told


def track_filters(track: AudioStream, layout: Layout, *, duration_s: float) -> tuple[str, ...]:
    """From a decoded track to what is measured and encoded: its channels, and the title's time from 0 to its end."""
    samples = round(duration_s * AUDIO_RATE_HZ)
    # The silence before a track that starts late would be made at once, an hour of stereo in 3 GB: almost all of it is
    # put in front piece by piece instead, behind what goes by the times.
    # Joined streams start at zero already.
    late = 0 if track.taps else max(0, int((track.start_time_s - LATE_S) * AUDIO_RATE_HZ))
    return (
        f"aformat=channel_layouts={layout.filter_name}",
        # From there on: a track that starts late gets silence, one that starts early is cut, gaps are filled.
        by_its_times(first_pts=late),
        *([f"adelay=delays={late}S:all=1"] if late else []),
        "apad",
        f"atrim=end_sample={samples}",
    )


def batches(versions: Sequence[Version]) -> Iterator[tuple[tuple[Version, ...], ...]]:
    """What is read at once: for each track all versions that are made of it."""
    of_tracks: list[list[Version]] = []
    for version in versions:
        own = next((each for each in of_tracks if each[0].track == version.track), None)
        if own is None:
            of_tracks.append([version])
        else:
            own.append(version)
    for first in range(0, len(of_tracks), MOST_TRACKS):
        yield tuple(tuple(own) for own in of_tracks[first : first + MOST_TRACKS])


def listen(
    ctx: StageContext,
    opened: OpenedMezzanine,
    versions: Sequence[Version],
    *,
    duration_s: float,
    report: Callable[[float], None],
) -> dict[str, Heard]:
    """Every version by its name, measured from the title's zero to its end.

    Args:
        ctx: The stage's context.
        opened: The mezzanine.
        versions: With names of their own.
        duration_s: Of the title.
        report: Gets the share that is done.
    """
    heard: dict[str, Heard] = {}
    todo = list(batches(versions))
    for number, batch in enumerate(todo):
        argv = listen_argv(ffmpeg(ctx.settings), opened, batch, duration_s=duration_s)

        def so_far(share: float, before: int = number) -> None:
            report((before + share) / len(todo))

        def read(stderr: str, batch: Sequence[Sequence[Version]] = batch) -> dict[str, Heard]:
            return {
                version.name: _heard(stderr, version, track=own[0].name, duration_s=duration_s)
                for own in batch
                for version in own
            }

        heard |= read_reports(ctx, argv, on_share(so_far, duration_s=duration_s), read)
    beyond = [
        replace(version, lowered_db=math.ceil(heard[version.name].loudness.sample_peak_dbfs))
        for version in versions
        if not version.lowered_db and beyond_measure(heard[version.name].loudness)
    ]
    return heard | listen(ctx, opened, beyond, duration_s=duration_s, report=report) if beyond else heard


def listen_argv(
    program: str, source: OpenedMezzanine, batch: Sequence[Sequence[Version]], *, duration_s: float
) -> list[str]:
    """The command that measures tracks of a mezzanine, each in all of its versions."""
    argv = [*prelude(program, level="info", progress=True), "-filter_complex_threads", "1", *source.argv()]
    for own in batch:
        branches = [
            Branch(
                name=version.name,
                channel_layout=version.layout.filter_name,
                filters=(
                    *track_filters(version.track, version.layout, duration_s=duration_s),
                    *((f"volume=-{version.lowered_db:g}dB",) if version.lowered_db else ()),
                    measuring(version.name, each_channel=bool(version.track.taps)),
                    # What leaves the graph only tells how far it is: all samples would cost as much again.
                    "aselect=not(mod(n\\,50))",
                ),
            )
            for version in own
        ]
        argv += taken(own[0].track, own[0].name, branches)
    for own in batch:
        for version in own:
            # An output of its own each: one that others share would wait for them.
            argv += ["-map", f"[{version.name}]", *NOWHERE]
    return argv


def listen_encoded(
    ctx: StageContext, output: Path, *, duration_s: float, report: Callable[[float], None]
) -> tuple[float, Loudness]:
    """Presented seconds and loudness of an encoded track, by one decode; raises where it does not decode.

    Args:
        ctx: The stage's context.
        output: The encoded track.
        duration_s: That it should have.
        report: Gets the share that is done.
    """
    graph = f"[0:a:0]{measuring('encoded')}[out]"
    argv = prelude(ffmpeg(ctx.settings), level="info", progress=True)
    argv += ["-xerror", "-i", f"file:{output}", "-filter_complex", graph, "-map", "[out]", *NOWHERE]
    told = on_share(report, duration_s=duration_s)
    finished = follow(argv, told, timeout_s=ctx.time_left_s, folder=ctx.scratch)
    encoded_s = time_reached_s(finished.stdout)
    if encoded_s == 0:
        raise failed(finished, EncoderCrashed, "ffmpeg ended well but encoded no audio")
    try:
        loudness = measured(finished.stderr, "encoded")
    except ValueError as error:
        raise failed(finished, EncoderCrashed, f"the loudness cannot be measured: {error}") from error
    return encoded_s, loudness if encoded_s >= SHORTEST_MEASURED_S else replace(loudness, integrated_lufs=None)


def read_reports(
    ctx: StageContext, argv: list[str], told: Callable[[EncoderProgress], None], read: Callable[[str], T]
) -> T:
    """Run a command that measures, again where its reports are not whole; returns what ``read`` makes of them.

    Args:
        ctx: The stage's context; the command writes into its scratch folder.
        argv: The command.
        told: Gets its progress.
        read: Takes its stderr; raises :class:`ValueError` where a report is not whole. That of the last of the tries
            raises :class:`EncoderCrashed`.
    """
    tries = TRIES
    while True:
        finished = follow(argv, told, timeout_s=ctx.time_left_s, folder=ctx.scratch)
        try:
            return read(finished.stderr)
        except ValueError as error:
            tries -= 1
            if not tries:
                raise failed(finished, EncoderCrashed, f"the loudness cannot be measured: {error}") from error


def _heard(stderr: str, version: Version, *, track: str, duration_s: float) -> Heard:
    loudness = measured(stderr, version.name)
    lowered_db = version.lowered_db
    return Heard(
        loudness=Loudness(
            integrated_lufs=(
                None
                if loudness.integrated_lufs is None or duration_s < SHORTEST_MEASURED_S
                else loudness.integrated_lufs + lowered_db
            ),
            range_lu=loudness.range_lu,
            sample_peak_dbfs=loudness.sample_peak_dbfs + lowered_db,
            true_peak_dbtp=loudness.true_peak_dbtp + lowered_db,
        ),
        channel_peaks_dbfs=channel_peaks(stderr, version.name),
        states=sound_states(stderr, track),
    )
