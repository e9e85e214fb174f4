"""Is what was made still the source, at the source's times? A part of the stage ``check``.

Excerpts of the source, picture and sound read together on the container's clock, are held against the same stretches
of every rendition and audio track. What looks wrong is looked at again with the source decoded from its start, where no
seek can mislead; only what is wrong both times counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path

from include.adapters.ffmpeg.commands import EncoderProgress
from include.adapters.ffmpeg.excerpts import Ear, Excerpt, read_source, sound_within, track_argv, written
from include.adapters.ffmpeg.following import follow
from include.adapters.ffmpeg.reading import bytes_written, complaints
from include.adapters.mezzanine import open_mezzanine
from include.adapters.tools import encode_threads, ffmpeg
from include.base.errors import ToolFailed
from include.domain.media.alignment import (
    PICTURE_S,
    SOUND_S,
    STEP_S,
    Thumbnails,
    excerpts,
    likeness,
    picture_lag,
    sound_lag,
    together,
    widened,
)
from include.domain.media.media import Inspection, Window
from include.domain.outcome import rules as qc
from include.domain.outcome.results import AudioRendition, CheckOutcome, Cost, TrackVerdict
from include.stages.core import StageContext
from include.stages.progress import Tell, counting, within

_BYTES = 2
"""Of a sample."""


BACK_S = 12.0
"""How far before an excerpt reading begins where nothing came of a seek to it: streams have keyframes 10 s apart."""
DECODED = 0.99
"""Share of a track's part at which it is decoded. Then it is held against the mezzanine's excerpts."""
SECOND_LOOKS = 2
"""Excerpts of which the source is decoded from its start for one rendition or track."""


@dataclass(kw_only=True)
class Original:
    """The source's excerpts, each read when it is first asked for."""

    ctx: StageContext
    source: Inspection
    ears: tuple[Ear, ...]
    costs: list[Cost] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Of what could not be compared, in sentences."""
    known: dict[tuple[float, bool], Excerpt | None] = field(default_factory=dict)
    report: Tell = lambda share, message: None
    """Gets how far the reading of the excerpts is, which of some sources begins at their start for each."""
    places: tuple[Window, ...] = ()
    """The stretches that are compared, where something is known to be looked for; else they lie all over the title."""

    @property
    def windows(self) -> tuple[Window, ...]:
        """The stretches that are compared."""
        return self.places or excerpts(self.source.duration_s)

    def at(self, window: Window, *, from_start: bool) -> Excerpt | None:
        """One excerpt; None where it could not be read, which says nothing of what was made."""
        name = (window.start_s, from_start)
        if name not in self.known:
            try:
                self.known[name] = self._read(window, from_start=from_start)
            except ToolFailed as error:
                self.known[name] = None
                message = f"the mezzanine could not be compared with what was made of it at {window.start_s:.1f} s"
                self.unread.append(f"{message}: {error.message}")
        return self.known[name]

    def _read(self, window: Window, *, from_start: bool) -> Excerpt:
        opened = open_mezzanine(self.ctx, self.source)
        whole = from_start or not opened.seeks or window.start_s < BACK_S
        read = partial(
            read_source,
            ffmpeg(self.ctx.settings),
            opened.address,
            video=self.source.video,
            ears=self.ears,
            window=window,
            pictures_s=PICTURE_S,
            origin_s=opened.origin_s,
            threads=encode_threads(self.ctx.settings),
            timeout_s=self.ctx.time_left_s,
            told=self._told(window),
        )
        for back_s in (None,) if whole else (0.0, BACK_S):
            with tempfile.TemporaryDirectory(dir=self.ctx.scratch) as scratch:
                excerpt, cost = read(back_s=back_s, scratch=Path(scratch))
            self.costs.append(cost)
            if excerpt.pictures.times_s:
                break
        return excerpt

    def _told(self, window: Window) -> Callable[[float], None]:
        """Reports how far the reading of one excerpt is, by the time in the title that it has come to."""
        place, count, at_s = self.windows.index(window), len(self.windows), window.start_s
        return counting(
            within(self.report, place / count, (place + 1) / count),
            lambda read_s: f"comparing with the mezzanine at {at_s:.0f} s: {read_s:.0f} s read",
            whole=at_s + window.duration_s,
        )


def misplaced_pictures(original: Original, shown: Thumbnails, *, frame_rate: Fraction) -> tuple[qc.Misplaced, ...]:
    """What is wrong with the pictures of a rendition.

    Args:
        original: The source.
        shown: The rendition's thumbnails, over all widened windows.
        frame_rate: Of the rendition.
    """
    frame_s = float(1 / frame_rate)

    def look(excerpt: Excerpt) -> qc.Misplaced | None:
        return qc.misplaced(
            picture_lag(excerpt.pictures, shown, frame_s=frame_s),
            likeness(excerpt.pictures, shown),
            what="picture",
            at_s=excerpt.window.start_s,
        )

    return _confirmed(original, look)


def track_verdict(original: Original, track: AudioRendition, report: Tell) -> TrackVerdict:
    """The verdict on an encoded track: all of its samples are there, and they sound when the source's do."""
    ctx = original.ctx
    wide = [widened(window, length_s=SOUND_S) for window in original.windows]
    path, whole_s = ctx.store.local_copy(track.uri, ctx.scratch), original.source.duration_s

    def told(state: EncoderProgress) -> None:
        seconds = state.out_time_s or 0.0
        report(DECODED * seconds / whole_s, f"decoding {track.name}: {seconds:.0f} of {whole_s:.0f} s")

    with tempfile.TemporaryDirectory(dir=ctx.scratch) as scratch:
        argv = track_argv(ffmpeg(ctx.settings), path, wide)
        finished = written(follow(argv, told, timeout_s=ctx.time_left_s, check=False, cwd=Path(scratch)))
        heard = {each.start_s: sound_within(Path(scratch), 0, each, zero_s=0.0) for each in wide}
    original.report = within(report, DECODED, 1.0)
    samples = bytes_written(finished.stdout) // (_BYTES * track.channels)
    numbers = [original.ears.index(ear) for ear in _ears(track)]

    def look(excerpt: Excerpt) -> qc.Misplaced | None:
        window = widened(excerpt.window, length_s=SOUND_S)
        lead = round((excerpt.window.start_s - window.start_s) / STEP_S)
        lag = sound_lag(together([excerpt.sounds[number] for number in numbers]), heard[window.start_s], lead=lead)
        return qc.misplaced(lag, None, what="sound", at_s=excerpt.window.start_s)

    reasons = [
        *(f"does not decode: {error}" for error in complaints(finished, path, track.name)[:3]),
        *qc.sample_faults(samples, duration_s=original.source.duration_s),
        *(each.message for each in (_confirmed(original, look) if numbers else ())),
    ]
    return TrackVerdict(
        track=track.name,
        outcome=CheckOutcome.FAIL if reasons else CheckOutcome.PASS,
        reasons=tuple(reasons),
        samples=samples,
        check_cost=finished.cost,
    )


def _confirmed(original: Original, look: Callable[[Excerpt], qc.Misplaced | None]) -> tuple[qc.Misplaced, ...]:
    """What is found in an excerpt, and again where the source is decoded from its start."""
    suspicious = (
        window
        for window in original.windows
        if (excerpt := original.at(window, from_start=False)) is not None and look(excerpt) is not None
    )
    for window in islice(suspicious, SECOND_LOOKS):
        again = original.at(window, from_start=True)
        said = None if again is None else look(again)
        if said is not None:
            return (said,)
    return ()


def ears_for(tracks: Sequence[AudioRendition]) -> tuple[Ear, ...]:
    """What of the source any of the tracks was made of."""
    return tuple(dict.fromkeys(ear for track in tracks for ear in _ears(track)))


def _ears(track: AudioRendition) -> list[Ear]:
    if not track.taps:
        return [Ear(stream=stream) for stream in track.streams]
    taken: dict[int, list[int]] = {}
    for tap in track.taps:
        taken.setdefault(tap.stream, []).append(tap.channel)
    return [Ear(stream=stream, channels=(channels[0], channels[-1])) for stream, channels in taken.items()]
