"""A reader of published sets that shares no code with what made them: manifests, boxes, and a decode by PyAV.

It opens a set as a player does, by its HLS or its DASH manifest, and tells what a viewer gets and when::

    published = read_hls(title.folder)            # or read_dash
    pictures = published.pictures()               # of the lowest rung; published.pictures("h264_240p") of another
    sound = published.sound(language="de")
    flashes(pictures), beeps(sound)               # seconds on the title's clock
    assert_in_sync(published, at=(1.0, 3.0))      # every flash stands at its beep

All times are seconds on the title's clock: a sample's time is its decode time in the boxes plus its composition offset,
less the media time that the track's edit list starts at.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np  # noqa: TID253

from tests.manifest_reader import Track, dash_tracks, hls_tracks

Array = Any
"""A numpy array."""

WHITE = 190.0
"""Mean luma from which a picture counts as the white one."""
STEP_S = 0.002
"""Resolution of the beeps' envelope."""
BEEP_HZ = 1000.0


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The decoded pictures of a rung, in the order in which they are shown."""

    track: Track
    times_s: tuple[float, ...]
    luma: tuple[float, ...]
    """Mean of each picture's luma, 0 to 255."""
    end_s: float
    """Where the last one ends."""

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.times_s)

    def rgb(self, time_s: float) -> Array:
        """The picture shown at ``time_s``: height × width × 3, 8 bit."""
        position = max(0, int(np.searchsorted(self.times_s, time_s + 1e-6)) - 1)
        for number, frame in enumerate(sorted_frames(self.track)):
            if number == position:
                return frame.to_ndarray(format="rgb24")
        raise AssertionError(f"{self.track.name}: there is no picture at {time_s} s")

    def patch(self, time_s: float, x: float, y: float, side: int = 8) -> tuple[int, int, int]:
        """Mean red, green and blue around a place given as shares of width and height."""
        picture = self.rgb(time_s)
        height, width, _ = picture.shape
        top, left = max(0, int(y * height) - side // 2), max(0, int(x * width) - side // 2)
        mean = picture[top : top + side, left : left + side].reshape(-1, 3).mean(axis=0)
        red, green, blue = (round(float(each)) for each in mean)
        return red, green, blue


@dataclass(frozen=True, kw_only=True)
class Sound:
    """The decoded sound of a track from the title's zero on, the encoder's delay left out."""

    track: Track
    rate_hz: int
    channels: Array
    """Channels × samples, float, 1.0 is full scale."""
    start_s: float
    """Time of the first sample; 0 where the track is whole."""
    gaps: tuple[tuple[float, float], ...] = ()
    """(Time, seconds missing; negative where samples overlap) wherever the boxes' times do not follow each other."""

    @property
    def samples(self) -> int:
        """Of each channel."""
        return int(self.channels.shape[1])

    @property
    def end_s(self) -> float:
        """Where the last sample ends."""
        return self.start_s + self.samples / self.rate_hz

    def peak(self, start_s: float, end_s: float, channel: int | None = None) -> float:
        """The largest magnitude in a stretch, of one channel or of all."""
        first, last = (max(0, round((each - self.start_s) * self.rate_hz)) for each in (start_s, end_s))
        part = self.channels[:, first:last] if channel is None else self.channels[channel, first:last]
        return float(np.abs(part).max()) if part.size else 0.0


@dataclass(frozen=True, kw_only=True)
class Cue:
    """A subtitle as it stands in the segments."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """A set as one of its manifests declares it."""

    tracks: tuple[Track, ...]
    declared_s: float | None = None
    """``mediaPresentationDuration`` of DASH."""

    def of(self, kind: str) -> tuple[Track, ...]:
        """The tracks of a kind, as the manifest orders them."""
        return tuple(track for track in self.tracks if track.kind == kind)

    def track(self, kind: str, name: str | None = None, language: str | None = None) -> Track:
        """The first track of that kind, name and language."""
        return next(
            track
            for track in self.of(kind)
            if name in {None, track.name} and (language is None or track.language == language)
        )

    def pictures(self, name: str | None = None) -> Pictures:
        """A rung, decoded; the first where none is named."""
        return decode_pictures(self.track("video", name))

    def sound(self, name: str | None = None, language: str | None = None) -> Sound:
        """An audio track, decoded; the first where none is named."""
        return decode_sound(self.track("audio", name, language))

    def cues(self, name: str | None = None, language: str | None = None) -> tuple[Cue, ...]:
        """The cues of a subtitle track, each once."""
        return read_cues(self.track("text", name, language))


def read_hls(folder: Path) -> Published:
    """The set by its HLS master playlist."""
    return Published(tracks=hls_tracks(folder))


def read_dash(folder: Path) -> Published:
    """The set by its DASH manifest."""
    tracks, declared_s = dash_tracks(folder)
    return Published(tracks=tracks, declared_s=declared_s)


def sorted_frames(track: Track) -> Iterator[Any]:
    """The decoded pictures of a track, as they are shown."""
    with av.open(io.BytesIO(track.data), options={"ignore_editlist": "1"}) as container:
        container.streams.video[0].thread_type = "SLICE"
        yield from container.decode(container.streams.video[0])


def decode_pictures(track: Track) -> Pictures:
    """Decode a rung from its first to its last picture."""
    times, luma = [], []
    for frame in sorted_frames(track):
        times.append(float(frame.pts * frame.time_base - track.boxes.skipped_s))
        height, width = frame.height, frame.width
        plane = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)[:height, :width]
        luma.append(float(plane.mean()))
    assert times == sorted(times), f"{track.name}: pictures come out of order"
    return Pictures(track=track, times_s=tuple(times), luma=tuple(luma), end_s=track.boxes.end_s)


def decode_sound(track: Track) -> Sound:
    """Decode an audio track; what its edit list skips is left out, as a player leaves it out."""
    parts, gaps, due, start, rate = [], [], None, None, 48_000
    with av.open(io.BytesIO(track.data), options={"ignore_editlist": "1"}) as container:
        stream = container.streams.audio[0]
        for frame in container.decode(stream):
            rate = frame.sample_rate
            at = frame.pts * frame.time_base - track.boxes.skipped_s
            samples = frame.to_ndarray()
            if frame.format.is_packed:
                samples = samples.reshape(-1, len(frame.layout.channels)).T
            if due is not None and abs(at - due) > Fraction(1, rate):
                gaps.append((float(due), float(at - due)))
            due = at + Fraction(frame.samples, rate)
            before = max(0, min(frame.samples, round(-at * rate)))
            if before < frame.samples:
                start = at + Fraction(before, rate) if start is None else start
                parts.append(samples[:, before:])
    joined = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0))
    # The last access unit lasts as long as the boxes say, though a decoder gives all of its 1,024 samples.
    kept = max(0, round((track.boxes.end_s - float(start or 0)) * rate))
    return Sound(track=track, rate_hz=rate, channels=joined[:, :kept], start_s=float(start or 0), gaps=tuple(gaps))


def read_cues(track: Track) -> tuple[Cue, ...]:
    """The cues of all segments; one that stands in several is told once."""
    found: dict[tuple[float, float, str], None] = {}
    for segment in track.segments:
        blocks = segment.path.read_text(encoding="utf-8").replace("\r\n", "\n").split("\n\n")
        for block in blocks[1:]:
            lines = block.strip("\n").split("\n")
            timing = next((number for number, line in enumerate(lines) if "-->" in line), None)
            if timing is not None:
                start, _, end = lines[timing].partition("-->")
                found[_clock(start), _clock(end), "\n".join(lines[timing + 1 :])] = None
    return tuple(Cue(start_s=start, end_s=end, text=text) for start, end, text in found)


def _clock(text: str) -> float:
    parts = text.split()[0].split(":")
    return sum(float(part) * 60**power for power, part in enumerate(reversed(parts)))


def flashes(pictures: Pictures) -> tuple[float, ...]:
    """When a white picture begins to be shown."""
    shown = list(zip(pictures.times_s, pictures.luma, strict=True))
    white = [(time_s, luma > WHITE) for time_s, luma in shown]
    return tuple(
        time_s for (time_s, now), (_, before) in zip(white, [(0.0, False), *white], strict=False) if now and not before
    )


def beeps(sound: Sound, *, hz: float = BEEP_HZ, channel: int | None = None) -> tuple[float, ...]:
    """When a tone of ``hz`` begins: where its level passes half of its greatest."""
    mono = sound.channels.mean(axis=0) if channel is None else sound.channels[channel]
    if not mono.size:
        return ()
    moments = np.arange(mono.size) / sound.rate_hz
    tone = mono * np.exp(-2j * np.pi * hz * moments)
    # A window of four periods, read every two milliseconds.
    width, step = round(4 * sound.rate_hz / hz), max(1, round(STEP_S * sound.rate_hz / 4))
    total = np.concatenate([np.zeros(width // 2), np.cumsum(tone), np.full(width - width // 2, tone.sum())])
    level = np.abs(total[width:] - total[:-width])[::step]
    if level.max() < 0.01 * width:
        return ()
    loud = level > level.max() / 2
    onsets = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]]))
    found = [sound.start_s + float(onset) * step / sound.rate_hz for onset in onsets]
    return tuple(time_s for number, time_s in enumerate(found) if number == 0 or time_s - found[number - 1] > 0.05)


def assert_in_sync(published: Published, *, at: tuple[float, ...], within_s: float = 0.020) -> None:
    """Every rung flashes and every audio track beeps at these times.

    Args:
        published: The set.
        at: Seconds on the title's clock at which the source flashes and beeps.
        within_s: How far sound and picture may lie apart. A picture may besides be off by half of one frame from the
            time of the source: a constant rate has no other place for it.
    """
    for track in published.of("video"):
        pictures = decode_pictures(track)
        seen = flashes(pictures)
        frame_s = pictures.end_s / max(1, pictures.frames)
        assert len(seen) == len(at), f"{track.name}: flashes at {seen}, the source at {at}"
        for sound_track in published.of("audio"):
            heard = beeps(decode_sound(sound_track))
            told = f"{track.name} flashes at {seen}, {sound_track.name} beeps at {heard}, the source at {at}"
            assert len(heard) == len(at), told
            for flash, beep, due in zip(seen, heard, at, strict=True):
                assert abs(flash - due) <= within_s + frame_s / 2, told
                assert abs(beep - due) <= within_s, told
