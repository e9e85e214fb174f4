"""Reads when the pictures of a mezzanine come, from its packets: nothing is decoded for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from include.adapters.ffmpeg.ffprobe import number, packets_argv
from include.adapters.process import run
from include.domain.media.rates import LEAP_S, SET_BACK_S, ClockTurn, Spacing
from include.domain.media.sampling import sample_windows

WHOLE_BYTES = 2 * 1024**3
"""Up to this size every packet is read: seconds from a disk, half a minute from a store. What is larger is read in
windows, as the packets of most containers cannot be listed without reading all of their data."""
WINDOWS = 40
WINDOW_S = 5.0
MOST_PACKETS = 3_000_000
"""Of one reading: 24 hours at 30 fps take half a minute. A file of nothing but tiny packets is not read for hours."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What the packets of a stream tell."""

    spacing: Spacing
    whole: bool
    """Whether all of them were read."""
    end_s: float | None
    """Where the last picture ends of those that were read, on the container's clock; None where none has a time."""
    stderr: str


def read_spacing(
    program: str,
    address: str,
    *,
    index: int,
    size_bytes: int,
    start_s: float,
    duration_s: float | None,
    timeout_s: float,
    told: Callable[[float], None] = lambda seconds: None,
) -> Read:
    """How far apart the pictures of a stream stand, and where the last one ends.

    Args:
        program: ffprobe.
        address: Path or presigned address.
        index: Of the stream.
        size_bytes: Of the file.
        start_s: Where the container begins, on its own clock.
        duration_s: Of the container; None where it does not say, and all packets are read for the end.
        timeout_s: Limit; raises :class:`include.base.errors.ToolTimeout`.
        told: Gets how far the reading is, in seconds of the container.
    """
    most = MOST_PACKETS if duration_s is not None and size_bytes <= WHOLE_BYTES else None
    intervals = None
    if duration_s is not None:
        intervals = _windows(start_s, duration_s) if most is None else f"%+#{most}"
    fields = "pts_time,dts_time,duration_time"
    argv = packets_argv(program, address, index=index, intervals=intervals, fields=fields)
    times = _Times()

    def read(line: str) -> None:
        times.read(line)
        told(times.end_s - start_s)

    finished = run(argv, timeout_s=timeout_s, check=False, on_line=read)
    found = times.spacing()
    whole = duration_s is None or (most is not None and found.count < most)
    return Read(spacing=found, whole=whole, end_s=times.shown_end_s, stderr=finished.stderr)


def _windows(start_s: float, duration_s: float) -> str:
    windows = sample_windows(duration_s, count=WINDOWS, length_s=WINDOW_S)
    return ",".join(f"{start_s + each.start_s:.3f}%+{each.duration_s:.3f}" for each in windows)


class _Times:
    """Times of packets by the lines of ffprobe.

    Containers of MPEG-2 give a presentation time to some packets only. The times of decoding have the same distances,
    but for the order of pictures.
    """

    def __init__(self) -> None:
        self.shown, self.decoded = Spacing(), Spacing()
        self.turned: ClockTurn | None = None
        self.decoded_s: float | None = None
        self.unknown = 0
        """Packets without a presentation time."""
        self.end_s = 0.0
        """Of the packet before, where one without any time is taken to begin."""
        self.shown_end_s: float | None = None

    def read(self, line: str) -> None:
        """One packet: when it is shown, when decoded, for how long it is shown; in seconds."""
        shown, decoded, length = map(number, f"{line},,".split(",")[:3])
        self.unknown += shown is None
        if decoded is not None:
            self._follow(decoded)
        known = next((time_s for time_s in (decoded, shown) if time_s is not None), self.end_s)
        if shown is not None:
            self.shown.add(shown)
            self.shown_end_s = max(self.shown_end_s or 0.0, shown + (length or 0.0))
        self.decoded.add(known)
        self.end_s = known + (length or 0.0)

    def _follow(self, decoded_s: float) -> None:
        """Times of decoding never go back where one recording is in the file."""
        before = self.decoded_s
        if before is not None and self.turned is None and not before - SET_BACK_S < decoded_s < before + LEAP_S:
            self.turned = ClockTurn(after_s=before, by_s=decoded_s - before)
        self.decoded_s = decoded_s

    def spacing(self) -> Spacing:
        """What was read."""
        found = self.decoded if self.unknown else self.shown
        found.end()
        found.turned = self.turned
        return found
