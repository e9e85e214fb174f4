"""Excerpts of pictures and sound with their times, small enough to be compared in Python.

The mezzanine is read with picture and sound in one call, on its container's own clock, and every frame is placed by the
time that its decoder gives it. Nothing here goes through the filters of time or the seeks of the encodes: what compares
the outcome with the source must not share the fault it looks for. Only the shape of the picture is theirs.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median

from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.following import follow_reading
from include.adapters.ffmpeg.opening import arguments, input_options, target_of
from include.adapters.ffmpeg.picture import decoder_options
from include.adapters.ffmpeg.reading import frame_time_s
from include.adapters.ffmpeg.steady import steady_picture
from include.adapters.process import Finished
from include.base.errors import StorageError
from include.domain.media.alignment import FLOOR_DB, SIDE, STEP_S, THUMBNAIL_BYTES, Thumbnails, loudness
from include.domain.media.media import VideoStream, Window
from include.domain.outcome.results import Cost

_NO_ROOM = re.compile("No space left on device|Disk quota exceeded")
RATE_HZ = 8000
CHANNELS = 2
_PICTURES, _PICTURE_TIMES = "thumbnails.gray", "thumbnails.txt"
_PICTURE_OPTIONS = {
    "f": "rawvideo",
    "fps_mode": "passthrough",
    "stats_enc_pre:v": _PICTURE_TIMES,
    "stats_enc_pre_fmt:v": "{pts} {tb}",
    # Counts of the container's own clock: seconds would come with six digits, and rounded to whole pictures.
    "enc_time_base:v": "demux",
}


@dataclass(frozen=True, kw_only=True)
class Ear:
    """What is listened to of the source."""

    stream: int
    """Stream index."""
    channels: tuple[int, int] | None = None
    """Two channels of it; None for all, brought to stereo."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """What was read of one stretch; times count from the title's zero."""

    window: Window
    pictures: Thumbnails
    sounds: tuple[tuple[float, ...], ...]
    """Loudness at each ear from the window's start to the last sound that was read, silence where it has nothing."""


def source_argv(
    program: str,
    address: str,
    *,
    video: VideoStream,
    ears: Sequence[Ear],
    start_s: float,
    pictures_end_s: float,
    end_s: float,
    back_s: float | None,
    threads: int,
) -> list[str]:
    """The command that writes an excerpt of the mezzanine to where it runs.

    Args:
        program: ffmpeg.
        address: Path or presigned address of the mezzanine.
        video: Its video stream.
        ears: What to read of the sound besides.
        start_s: Where the excerpt begins, on the container's clock.
        pictures_end_s: Where its pictures end.
        end_s: Where its sound ends.
        back_s: How far before the excerpt reading begins; None for the mezzanine's start.
        threads: Of the decoder.
    """
    import ffmpeg as graph

    # A seek that lands too early costs time; one that lands too late leaves less to compare. Neither moves a time.
    moment = None if back_s is None else f"{start_s - back_s:.6f}"
    seek = {} if moment is None else {"noaccurate_seek": None, "seek_timestamp": 1, "ss": moment}
    options = {"threads": threads, **input_options(address), **decoder_options(video), **seek}
    opened = graph.input(target_of(address), copyts=None, **options)
    shown = steady_picture(opened[str(video.index)], video, interlaced=False)
    shown = shown.filter("trim", start=f"{start_s:.6f}", end=f"{pictures_end_s:.6f}")
    shown = shown.filter("scale", SIDE, SIDE, flags="area")
    if video.alpha == "straight":
        shown = shown.filter("format", "yuva420p").filter("premultiply", inplace=1)
    outputs = [graph.output(shown.filter("format", "gray"), _PICTURES, **_PICTURE_OPTIONS)]
    counted = Counter(ear.stream for ear in ears)
    taken = {stream: opened[str(stream)].filter_multi_output("asplit", count) for stream, count in counted.items()}
    for number, ear in enumerate(ears):
        # A graph may not take a stream twice: each ear has a branch of its own.
        branch = taken[ear.stream][sum(each.stream == ear.stream for each in ears[:number])]
        heard = branch.filter("atrim", start=f"{start_s:.6f}", end=f"{end_s:.6f}")
        if ear.channels is not None:
            heard = heard.filter("pan", f"stereo|c0=c{ear.channels[0]}|c1=c{ear.channels[1]}")
        heard = heard.filter("aformat", sample_rates=RATE_HZ, channel_layouts="stereo", sample_fmts="s16")
        outputs.append(graph.output(heard, f"sound{number}.pcm", **_sound_options(number)))
    merged = graph.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    compiled: list[str] = merged.compile(cmd=prelude(program, level="error", overwrite=True))
    return compiled


def thumbnails_argv(windows: Sequence[Window]) -> list[str]:
    """Filters and output that write the thumbnails of a rendition's windows, and their times."""
    chosen = f"select='{within(windows)}',scale={SIDE}:{SIDE}:flags=area,format=gray"
    return ["-map", "0:v:0", "-vf", chosen, *arguments(_PICTURE_OPTIONS), _PICTURES]


def read_source(
    program: str,
    address: str,
    *,
    video: VideoStream,
    ears: Sequence[Ear],
    window: Window,
    pictures_s: float,
    origin_s: float,
    back_s: float | None,
    threads: int,
    scratch: Path,
    timeout_s: float,
    told: Callable[[float], None] = lambda seconds: None,
) -> tuple[Excerpt, Cost]:
    """An excerpt of the mezzanine, as much of it as can be read.

    Args:
        program: ffmpeg.
        address: Path or presigned address of the mezzanine.
        video: Its video stream.
        ears: What to read of the sound besides.
        window: In the title.
        pictures_s: How much of it is read of the pictures.
        origin_s: The title's zero on the container's clock.
        back_s: How far before the window reading begins; None for the mezzanine's start.
        threads: Of the decoder.
        scratch: Empty folder: what the command writes is read from there.
        timeout_s: Limit; raises :class:`include.base.errors.ToolTimeout`.
        told: Gets how far the reading of the picture is, in seconds of the title.
    """
    pictures_end_s = origin_s + video.lag_s + window.start_s + min(pictures_s, window.duration_s)
    argv = source_argv(
        program,
        address,
        video=video,
        ears=ears,
        start_s=origin_s + window.start_s,
        pictures_end_s=pictures_end_s,
        end_s=origin_s + window.start_s + window.duration_s,
        back_s=back_s,
        threads=threads,
    )
    followed = follow_reading(
        argv,
        lambda at_s: told(at_s - origin_s),
        index=video.index,
        to_s=pictures_end_s,
        timeout_s=timeout_s,
        check=False,
        cwd=scratch,
    )
    finished = written(followed)
    sounds = tuple(sound_within(scratch, number, window, zero_s=origin_s) for number in range(len(ears)))
    return Excerpt(
        window=window, pictures=thumbnails(scratch, zero_s=origin_s + video.lag_s), sounds=sounds
    ), finished.cost


def written(finished: Finished) -> Finished:
    """The same; raises :class:`StorageError` where the tool had no room for what it was to write.

    What it left then says nothing of what it read.
    """
    if _NO_ROOM.search(finished.stderr):
        raise StorageError(
            "the scratch folder takes no more: free space there; the next attempt goes on from what is done",
            reason="disk_full",
        )
    return finished


def thumbnails(scratch: Path, *, zero_s: float) -> Thumbnails:
    """The thumbnails that a command has written; their times then count from ``zero_s``."""
    times = [time_s for time_s, *_ in _fields(scratch / _PICTURE_TIMES)]
    data = _bytes(scratch / _PICTURES)
    count = min(len(times), len(data) // THUMBNAIL_BYTES)
    pictures = (data[number * THUMBNAIL_BYTES : (number + 1) * THUMBNAIL_BYTES] for number in range(count))
    shown = sorted(zip(times, pictures, strict=False))
    return Thumbnails(
        times_s=tuple(time_s - zero_s for time_s, _ in shown), pictures=tuple(picture for _, picture in shown)
    )


def sound_within(scratch: Path, number: int, window: Window, *, zero_s: float) -> tuple[float, ...]:
    """The loudness over a window as far as sound was read, every frame at the time that its decoder gave it.

    Where a picture has ended before, ffmpeg may leave out the last tenths of a second of the sound, now more and now
    less: that is no silence.

    Args:
        scratch: Where the command ran.
        number: Of its sound output.
        window: To fill; times count from ``zero_s``.
        zero_s: On the clock of the command.
    """
    steps = round(window.duration_s / STEP_S)
    step = round(RATE_HZ * STEP_S) * CHANNELS
    samples = array("h", bytes(2 * step * steps))
    data = array("h")
    given = _bytes(scratch / f"sound{number}.pcm")
    data.frombytes(given[: len(given) // 2 * 2])
    place = end = 0
    for time_s, count in _even(_fields(scratch / f"sound{number}.txt")):
        length = round(count) * CHANNELS
        part, place = data[place : place + length], place + length
        start = round((time_s - zero_s - window.start_s) * RATE_HZ) * CHANNELS
        first, last = max(0, start), min(len(samples), start + len(part))
        if first < last:
            samples[first:last] = part[first - start : last - start]
            end = max(end, last)
    samples = samples[: end // step * step]
    return loudness(samples, channels=CHANNELS, rate_hz=RATE_HZ) or (FLOOR_DB,)


def _even(frames: Iterable[Sequence[float]]) -> Iterator[tuple[float, float]]:
    """Times and samples of frames; a single one whose time is not in step with both neighbours' is put between them.

    AC-3 in program streams has some: a packet's time goes to the frame that begins in it, or to the one after.
    """
    given = [(time_s, samples) for time_s, samples, *_ in frames]
    begun = list(accumulate((samples / RATE_HZ for _, samples in given), initial=0.0))
    late = [time_s - before for (time_s, _), before in zip(given, begun, strict=False)]
    for number, (_, samples) in enumerate(given):
        around = late[number - 1 : number + 2] if 0 < number < len(late) - 1 else late[number : number + 1]
        yield begun[number] + median(around), samples


def track_argv(program: str, path: Path, windows: Sequence[Window]) -> list[str]:
    """A full decode of an encoded track, whose progress tells its bytes as 16-bit samples, and excerpts of it."""
    few = f"aformat=sample_rates={RATE_HZ}:channel_layouts=stereo:sample_fmts=s16"
    return [
        *prelude(program, level="error", overwrite=True, progress=True),
        *("-i", f"file:{path}", "-map", "0:a:0", "-c:a", "pcm_s16le", "-f", "s16le", "file:/dev/null"),
        *("-map", "0:a:0", "-af", f"aselect='{within(windows)}',{few}", *arguments(_sound_options(0)), "sound0.pcm"),
    ]


def _sound_options(number: int) -> dict[str, str]:
    """Samples into one file, time and count of those of each frame into another."""
    times = {"stats_enc_pre:a": f"sound{number}.txt", "stats_enc_pre_fmt:a": "{pts} {tb} {samp}"}
    return {"f": "s16le", "c:a": "pcm_s16le", **times}


def within(windows: Sequence[Window]) -> str:
    """The expression of the filter ``select`` for what lies in one of the windows."""
    return "+".join(f"between(t,{each.start_s:.3f},{each.start_s + each.duration_s:.3f})" for each in windows)


def _fields(path: Path) -> Iterator[list[float]]:
    """Of each frame its time in seconds, and what else a line tells."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        try:
            count, clock, *others = line.split()
            yield [frame_time_s(count, clock), *map(float, others)]
        except (ValueError, ZeroDivisionError):
            continue


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
