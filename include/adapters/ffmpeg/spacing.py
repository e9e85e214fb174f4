"""Reads when the pictures of a mezzanine come, from its packets: nothing is decoded for it."""

from __future__ import annotations

from include.adapters.ffmpeg.opening import input_argv, loglevel
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


def read_spacing(
    program: str,
    address: str,
    *,
    index: int,
    size_bytes: int,
    start_s: float,
    duration_s: float | None,
    timeout_s: float,
) -> tuple[Spacing, bool]:
    """How far apart the pictures of a stream stand, and whether all of its packets were read.

    Args:
        program: ffprobe.
        address: Path or presigned address.
        index: Of the stream.
        size_bytes: Of the file.
        start_s: Where the container begins, on its own clock.
        duration_s: Of the container; None where it does not say.
        timeout_s: Limit; raises :class:`include.base.errors.ToolTimeout`.
    """
    whole = size_bytes <= WHOLE_BYTES or duration_s is None
    argv = [
        *(program, "-v", loglevel(address), "-select_streams", str(index)),
        *("-read_intervals", f"%+#{MOST_PACKETS}" if whole else _windows(start_s, duration_s or 0.0)),
        *("-show_entries", "packet=pts_time,dts_time,duration_time", "-of", "csv=p=0"),
        *input_argv(address),
    ]
    times = _Times()
    run(argv, timeout_s=timeout_s, check=False, on_line=times.read)
    found = times.spacing()
    return found, whole and found.count < MOST_PACKETS


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

    def read(self, line: str) -> None:
        """One packet: when it is shown, when decoded, for how long it is shown; in seconds."""
        shown, decoded, length = map(_number, f"{line},,".split(",")[:3])
        self.unknown += shown is None
        if decoded is not None:
            self._follow(decoded)
        known = next((time_s for time_s in (decoded, shown) if time_s is not None), self.end_s)
        if shown is not None:
            self.shown.add(shown)
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


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
