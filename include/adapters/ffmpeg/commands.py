"""ffmpeg's command lines, as pure functions, and its progress lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from include.adapters.ffmpeg.encoders.registry import encoder_options
from include.adapters.ffmpeg.opening import OpenedMezzanine, arguments
from include.adapters.ffmpeg.picture import decoder_options, scaled, source_filters
from include.adapters.ffmpeg.steady import steady_options
from include.domain.media.media import VideoStream, Window
from include.domain.recipe.rungs import Rendition

ANALYSIS_WIDTH = 640
"""SI and TI depend on the size: all sources are measured at this one, or their own where it is less."""
TRIAL_FRAMES = 10
_EXACT = ("-enc_time_base:v", "demux")
"""Times of pictures are told on the container's clock. Else they would be rounded to whole pictures: by up to 20 ms
where the container's zero lies between two, as in program streams."""


def prelude(program: str, *, level: str, overwrite: bool = False, progress: bool = False) -> list[str]:
    """How every command of ffmpeg begins.

    Args:
        program: ffmpeg.
        level: ffmpeg's loglevel: what it says on stderr.
        overwrite: Whether it may replace a file: where it writes one, an earlier attempt may have left half of it.
        progress: Whether it tells its progress on stdout (:class:`ProgressParser`).
    """
    return [
        program,
        # It would take its keys from the terminal that a person has started a worker in.
        "-nostdin",
        "-hide_banner",
        *(["-y"] if overwrite else []),
        "-loglevel",
        level,
        "-nostats",
        *(["-progress", "pipe:1"] if progress else []),
    ]


def encode_argv(
    program: str,
    source: OpenedMezzanine,
    video: VideoStream,
    rendition: Rendition,
    output: str,
    *,
    threads: int,
    frames: int,
    held: int,
) -> list[str]:
    """The command that encodes one rendition, video only.

    Args:
        program: ffmpeg.
        source: The mezzanine.
        video: Its video stream.
        rendition: What to make.
        output: Path of the new file.
        threads: For decoder, filters and encoder each.
        frames: As many come out, and what is beyond is left out.
        held: For so many of them at most the last picture is held, where the source ends before.
    """
    # Imported late: a DAG parse imports the stages, never the command lines.
    import ffmpeg

    opened = {"threads": threads, **decoder_options(video), **source.options()}
    node = ffmpeg.input(source.target, **opened)
    treatment = rendition.treatment
    picture = source_filters(node[str(video.index)], video, treatment, frame_rate=rendition.frame_rate)
    picture = picture.filter("tpad", stop=held, stop_mode="clone").filter("trim", end_frame=frames)
    picture = scaled(picture, video, treatment, width=rendition.width, height=rendition.height)
    options: dict[str, Any] = {
        "threads": threads,
        # The filter has made the rate constant: nothing is to be dropped or repeated behind it.
        "fps_mode": "passthrough",
        "map_metadata": -1,
        "map_chapters": -1,
        **encoder_options(rendition),
    }
    command = prelude(program, level="level+warning", overwrite=True, progress=True)
    compiled: list[str] = ffmpeg.output(picture, output, **options).compile(
        cmd=[*command, "-filter_threads", str(threads)]
    )
    return compiled


def trial_argv(program: str, rendition: Rendition) -> list[str]:
    """The command that encodes a few frames to nowhere with a rendition's encoder, size and options."""
    import ffmpeg

    size, rate = f"{rendition.width}x{rendition.height}", rendition.frame_rate
    picture = ffmpeg.input(f"testsrc2=size={size}:rate={rate}", f="lavfi").filter("format", "yuv420p")
    options = {**encoder_options(rendition), "frames:v": TRIAL_FRAMES, "f": "null"}
    compiled: list[str] = ffmpeg.output(picture, "-", **options).compile(cmd=prelude(program, level="level+warning"))
    return compiled


def decode_argv(
    program: str,
    source: OpenedMezzanine,
    *,
    video_index: int,
    audio_indexes: Sequence[int] = (),
    from_s: float = 0.0,
    to_s: float | None = None,
    constant_rate: str | None = None,
    keyframes: bool = False,
    threads: int,
) -> list[str]:
    """The command that decodes to nowhere and prints each frame's time; see :mod:`include.adapters.ffmpeg.decode`."""
    maps = [part for index in (video_index, *audio_indexes) for part in ("-map", f"0:{index}")]
    end = [] if to_s is None else [f"trim=end={to_s:.6f}"]
    rate = [] if constant_rate is None else [f"fps=fps={constant_rate}:start_time=0:round=near"]
    pictures = [
        *(["-filter:v", ",".join([*end, *rate])] if end or rate else []),
        *("-fps_mode", "passthrough", *_EXACT, "-stats_enc_pre:v", _stdout(0), "-stats_enc_pre_fmt:v", "v {pts} {tb}"),
    ]
    sounds = [
        *([] if to_s is None else ["-filter:a", f"atrim=end={to_s:.6f}"]),
        *(part for number in range(len(audio_indexes)) for part in (f"-stats_enc_pre:a:{number}", _stdout(number + 1))),
        *("-stats_enc_pre_fmt:a", "a {sidx} {pts} {samp} {tb}"),
    ]
    return [
        # Without "repeat" equal messages are folded into one, and could not be counted.
        *prelude(program, level="repeat+level+verbose"),
        # The judgement on damaged frames is ours.
        "-max_error_rate",
        "1",
        "-threads",
        str(threads),
        # Nothing here looks into a picture: all kinds pass, and the clock goes on where they change.
        *arguments(steady_options(followed=True)),
        *(["-skip_frame", "nokey"] if keyframes else []),
        *source.argv(from_s=from_s),
        *maps,
        *pictures,
        *(sounds if audio_indexes else []),
        "-f",
        "null",
        "-",
    ]


def frame_times(index: int, *, to_s: float | None = None) -> list[str]:
    """A further output of a command, which prints the time of each picture of a stream as it is decoded.

    Args:
        index: Of the stream in the command's first input.
        to_s: Where it ends, on the input's clock: the command need not read on for it. None for the stream's end.
    """
    end = [] if to_s is None else ["-vf", f"trim=end={to_s:.6f}"]
    told = ("-stats_enc_pre", _stdout(0), "-stats_enc_pre_fmt", "{pts} {tb}")
    return ["-map", f"0:{index}", *end, "-fps_mode", "passthrough", *_EXACT, *told, "-f", "null", "-"]


def _stdout(number: int) -> str:
    """A name of stdout that is the writer's own: two encoders that write under one name get in each other's way."""
    return f"pipe:{'0' * number}1"


def first_times_argv(
    program: str, source: OpenedMezzanine, *, indexes: Sequence[int], from_s: float = 0.0, within_s: float | None = None
) -> list[str]:
    """The command that prints, for each stream, its place in ``indexes`` and the time of its first frame.

    The time is told as a count of the stream's own clock. In seconds ffmpeg writes six digits: 90000.1 for 90000.0567.
    """
    outputs = [
        part
        for number, index in enumerate(indexes)
        for part in (
            # An output of its own each: one that has its frame would end the others.
            *("-map", f"0:{index}", "-frames", "1", "-fps_mode", "passthrough", *_EXACT),
            *("-stats_enc_pre", _stdout(number), "-stats_enc_pre_fmt", f"{number} {{pts}} {{tb}}"),
            *("-f", "null", "-"),
        )
    ]
    limit = [] if within_s is None else ["-t", f"{within_s:.3f}"]
    return [*prelude(program, level="error"), *limit, *source.argv(from_s=from_s), *outputs]


def analysis_argv(
    program: str, source: OpenedMezzanine, *, video_index: int, window: Window, from_s: float, threads: int, output: str
) -> list[str]:
    """The command that measures one window and writes down the filters' findings frame by frame.

    Args:
        program: ffmpeg.
        source: The mezzanine.
        video_index: Its video stream.
        window: What to measure, in the title.
        from_s: Where reading begins (:func:`include.adapters.ffmpeg.landing.reach`).
        threads: Of the decoder.
        output: Name of the new file, of letters, digits and dots.
    """
    filters = ",".join(
        (
            f"trim={_stretch(window)}",
            # Some matrices the scaler refuses, and no measure here needs one.
            "setparams=colorspace=unknown",
            # Combing and black bars show at full size only.
            "idet",
            "cropdetect=round=2:reset=0",
            f"scale=w='min({ANALYSIS_WIDTH},iw)':h=-2:flags=bicubic",
            "format=yuv420p",
            "scdet=threshold=10",
            "blackframe=amount=98",
            "freezedetect=duration=0.5",
            "signalstats",
            "siti",
            f"metadata=mode=print:file={output}",
        )
    )
    command = prelude(program, level="level+warning")
    return [*command, *_filtered(source, filters, video_index=video_index, from_s=from_s, threads=threads)]


def matched_argv(
    program: str,
    source: OpenedMezzanine,
    *,
    video_index: int,
    window: Window,
    from_s: float,
    frame_rate: str,
    top_field_first: bool,
    threads: int,
    output: str,
) -> list[str]:
    """The command that matches the fields of one window's frames and writes how much each differs from the one before.

    Args:
        program: ffmpeg.
        source: The mezzanine.
        video_index: Its video stream.
        window: What to measure, in the title.
        from_s: Where reading begins (:func:`include.adapters.ffmpeg.landing.reach`).
        frame_rate: Of the video, as an exact fraction.
        top_field_first: Which field of a frame is the earlier.
        threads: Of the decoder.
        output: Name of the new file, of letters, digits and dots.
    """
    filters = ",".join(
        (
            f"trim={_stretch(window)}",
            f"fps=fps={frame_rate}:round=near",
            f"fieldmatch=order={'tff' if top_field_first else 'bff'}:combmatch=full",
            "signalstats",
            f"metadata=mode=print:key=lavfi.signalstats.YDIF:file={output}",
        )
    )
    command = prelude(program, level="error")
    return [*command, *_filtered(source, filters, video_index=video_index, from_s=from_s, threads=threads)]


def _filtered(source: OpenedMezzanine, filters: str, *, video_index: int, from_s: float, threads: int) -> list[str]:
    """Arguments that send every decoded picture through filters, and nowhere else."""
    return [
        *("-threads", str(threads)),
        *source.argv(from_s=from_s),
        *("-map", f"0:{video_index}", "-vf", filters, "-fps_mode", "passthrough", "-f", "null", "-"),
    ]


def _stretch(window: Window) -> str:
    """Options of the filters ``trim`` and ``atrim``."""
    return f"start={window.start_s:.6f}:end={window.start_s + window.duration_s:.6f}"


def loudness_argv(program: str, source: OpenedMezzanine, *, audio_index: int, windows: Sequence[Window]) -> list[str]:
    """The command that measures the loudness of one track over all windows together."""
    inputs = [part for window in windows for part in source.argv(from_s=window.start_s)]
    cuts = "".join(
        f"[{number}:{audio_index}]atrim={_stretch(window)},asetpts=PTS-STARTPTS[{number}];"
        for number, window in enumerate(windows)
    )
    joined = "".join(f"[{number}]" for number in range(len(windows)))
    graph = f"{cuts}{joined}concat=n={len(windows)}:v=0:a=1,ebur128=peak=true:framelog=quiet[out]"
    return [
        *prelude(program, level="info"),
        *inputs,
        "-filter_complex",
        graph,
        "-map",
        "[out]",
        "-f",
        "null",
        "-",
    ]


@dataclass(frozen=True, kw_only=True)
class EncoderProgress:
    """One block of ``-progress``."""

    frames: int
    out_time_s: float | None
    speed: float | None
    """Times real time."""
    finished: bool


class ProgressParser:
    """Reads the ``key=value`` lines of ``-progress pipe:1``; each block ends with ``progress=``."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    def feed(self, line: str) -> EncoderProgress | None:
        """Take one line; the progress when it ends a block."""
        name, _, value = line.strip().partition("=")
        self.fields[name] = value.strip()
        if name != "progress":
            return None
        fields, self.fields = self.fields, {}
        out_time = _number(fields.get("out_time_us"))
        return EncoderProgress(
            frames=int(_number(fields.get("frame")) or 0),
            out_time_s=None if out_time is None else out_time / 1e6,
            speed=_number(fields.get("speed", "").removesuffix("x")),
            finished=value.strip() == "end",
        )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
