"""ffmpeg's command lines, as pure functions, and its progress lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from include.adapters.ffmpeg.encoders.registry import encoder_options
from include.adapters.ffmpeg.picture import decoder_options, scaled, source_filters
from include.adapters.tools import certificates
from include.domain.media.media import VideoStream, Window
from include.domain.recipe.rungs import Rendition

CONTAINERS = ("mov", "mp4", "avi", "matroska", "webm", "mxf", "mpegts")
"""Demuxers that may open a mezzanine. None of them opens further files: no playlists, no concat scripts."""
MAX_SIDE = 8192
ANALYSIS_WIDTH = 640
"""SI and TI depend on the size: all sources are measured at this one, or their own where it is less."""
PROBE_BYTES = 20_000_000
PROBE_US = 20_000_000
"""How far a demuxer looks for streams; the same for ffprobe and ffmpeg, so that stream indexes agree."""
TRIAL_FRAMES = 10
_PROTOCOLS = {"file": "file", "https": "https,tls,tcp", "http": "http,tcp"}
"""What ffmpeg needs to open an address of each scheme, and no more. A redirect cannot change the scheme."""
_REMOTE = {
    "reconnect": 1,
    "reconnect_on_network_error": 1,
    "reconnect_on_http_error": "429,5xx",
    "reconnect_delay_max": 20,
    "reconnect_max_retries": 8,
    "rw_timeout": 60_000_000,
}
"""How an address is read: a connection that breaks is taken up at its byte, a silent one given up after 60 s (in µs).
Without these a body that breaks off looks to ffmpeg like the end of the file."""


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


def input_options(address: str) -> dict[str, Any]:
    """Options of every input that comes from outside: what may be opened, and how large a picture may get.

    Args:
        address: A path, or a presigned address of the store.
    """
    scheme = address.partition("://")[0] if "://" in address else "file"
    return {
        # None for any other scheme: nothing but files and presigned addresses is ever opened.
        "protocol_whitelist": _PROTOCOLS.get(scheme, "none"),
        "format_whitelist": ",".join(CONTAINERS),
        "max_pixels": MAX_SIDE * MAX_SIDE,
        "probesize": PROBE_BYTES,
        "analyzeduration": PROBE_US,
        **(_REMOTE if scheme in {"http", "https"} else {}),
        # Left to themselves ffmpeg would look where its builder kept certificates, and ffprobe would ask for none.
        **({"tls_verify": 1, "ca_file": certificates()} if scheme == "https" else {}),
    }


def loglevel(address: str) -> str:
    """``error``; ``warning`` for what comes over the network: there it says which breaks it has mended."""
    return "warning" if "://" in address else "error"


def input_argv(address: str) -> list[str]:
    """:func:`input_options` as arguments, ``-i`` included."""
    # Without the prefix a path with a colon would be read as a protocol.
    target = f"file:{address}" if "://" not in address else address
    return [
        *(str(part) for name, value in input_options(address).items() for part in (f"-{name}", value)),
        "-i",
        target,
    ]


def encode_argv(
    program: str,
    source: str,
    video: VideoStream,
    rendition: Rendition,
    output: str,
    *,
    threads: int,
    duration_s: float,
) -> list[str]:
    """The command that encodes one rendition, video only.

    Args:
        program: ffmpeg.
        source: Path or presigned address of the mezzanine.
        video: Its video stream.
        rendition: What to make.
        output: Path of the new file.
        threads: For decoder, filters and encoder each.
        duration_s: No output beyond this: a jump in the source's timestamps must not become hours of still picture.
    """
    # Imported late: a DAG parse imports the stages, never the command lines.
    import ffmpeg

    opened = {"threads": threads, **decoder_options(video), **input_options(source)}
    node = ffmpeg.input(source if "://" in source else f"file:{source}", **opened)
    treatment = rendition.treatment
    picture = source_filters(node[str(video.index)], video, treatment, frame_rate=rendition.frame_rate)
    picture = scaled(picture, video, treatment, width=rendition.width, height=rendition.height)
    options: dict[str, Any] = {
        "threads": threads,
        "t": f"{duration_s:.6f}",
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
    address: str,
    *,
    video_index: int,
    audio_indexes: Sequence[int] = (),
    window: Window | None = None,
    from_keyframe: bool = False,
    constant_rate: str | None = None,
    threads: int,
) -> list[str]:
    """The command that decodes to nowhere and prints each frame's time; see :mod:`include.adapters.ffmpeg.decode`."""
    seek = [] if window is None else ["-ss", f"{window.start_s:.3f}", "-t", f"{window.duration_s:.3f}"]
    if from_keyframe:
        seek.append("-noaccurate_seek")
    maps = [part for index in (video_index, *audio_indexes) for part in ("-map", f"0:{index}")]
    filters = [] if constant_rate is None else ["-filter:v", f"fps=fps={constant_rate}:start_time=0:round=near"]
    return [
        # Without "repeat" equal messages are folded into one, and could not be counted.
        *prelude(program, level="repeat+level+verbose"),
        # The judgement on damaged frames is ours.
        "-max_error_rate",
        "1",
        "-threads",
        str(threads),
        *seek,
        *input_argv(address),
        *maps,
        *filters,
        "-fps_mode",
        "passthrough",
        "-stats_enc_pre:v",
        "pipe:1",
        "-stats_enc_pre_fmt:v",
        "{t}",
        "-f",
        "null",
        "-",
    ]


def analysis_argv(program: str, address: str, *, video_index: int, window: Window, threads: int) -> list[str]:
    """The command that measures one window and prints the filters' findings frame by frame."""
    filters = ",".join(
        (
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
            "metadata=mode=print:file=-",
        )
    )
    return [
        *prelude(program, level="level+warning"),
        "-threads",
        str(threads),
        "-ss",
        f"{window.start_s:.3f}",
        "-t",
        f"{window.duration_s:.3f}",
        *input_argv(address),
        "-map",
        f"0:{video_index}",
        "-vf",
        filters,
        "-fps_mode",
        "passthrough",
        "-f",
        "null",
        "-",
    ]


def loudness_argv(program: str, address: str, *, audio_index: int, windows: Sequence[Window]) -> list[str]:
    """The command that measures the loudness of one track over all windows together."""
    inputs = [
        part
        for window in windows
        for part in ("-ss", f"{window.start_s:.3f}", "-t", f"{window.duration_s:.3f}", *input_argv(address))
    ]
    joined = "".join(f"[{number}:{audio_index}]" for number in range(len(windows)))
    graph = f"{joined}concat=n={len(windows)}:v=0:a=1,ebur128=peak=true:framelog=quiet[out]"
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
