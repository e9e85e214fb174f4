"""ffmpeg's command lines, as pure functions, and its progress lines.

:func:`source_filters` and :func:`scaled` are the one way from a decoded source to the picture that is encoded. The
quality comparison sends its reference through the same two, so that it measures the encoder and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from include.adapters.ffmpeg.encoders.registry import encoder_options
from include.adapters.tools import certificates
from include.domain.media.media import VideoStream, Window
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment

CONTAINERS = ("mov", "mp4", "avi", "matroska", "webm", "mxf", "mpegts")
"""Demuxers that may open a mezzanine. None of them opens further files: no playlists, no concat scripts."""
MAX_SIDE = 8192
ANALYSIS_WIDTH = 640
"""SI and TI depend on the size: all sources are measured at this one, or their own where it is less."""
PROBE_BYTES = 20_000_000
PROBE_US = 20_000_000
"""How far a demuxer looks for streams; the same for ffprobe and ffmpeg, so that stream indexes agree."""
HD_LINES = 720
"""From this height on an untagged picture is taken for BT.709, below for BT.601, as players do."""
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
_MATRICES = {"bt709", "fcc", "smpte240m", "bt2020nc", "smpte170m", "bt470bg"}
_SCALER = "bicubic+accurate_rnd+full_chroma_int"

Node = Any
"""A stream of an ffmpeg-python graph; that package ships no types."""


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


def source_filters(node: Node, video: VideoStream, treatment: SourceTreatment, *, frame_rate: str) -> Node:
    """From the decoded source to progressive SDR frames at an exact constant rate, still at the source's size.

    Args:
        node: Decoded video, its timestamps counted from the container's start.
        video: What the source is.
        treatment: What the rendition does to it.
        frame_rate: Exact fraction.
    """
    if treatment.deinterlace:
        node = node.filter("bwdif", mode="send_frame", parity="auto", deint="all")
    # From zero on, so that a late first frame is held and picture and sound keep their distance.
    node = node.filter("fps", fps=frame_rate, start_time=0, round="near")
    if treatment.tone_map:
        node = (
            # Some decoders leave single frames untagged, and zscale refuses those.
            node.filter(
                "setparams",
                color_trc=video.color_transfer or "smpte2084",
                color_primaries=_known(video.color_primaries, "bt2020"),
                colorspace=_known(video.color_space, "bt2020nc"),
                range="full" if video.color_range == "pc" else "limited",
            )
            .filter("zscale", transfer="linear", npl=100)
            .filter("format", "gbrpf32le")
            .filter("zscale", primaries="bt709")
            .filter("tonemap", tonemap="hable", desat=0)
            .filter("zscale", transfer="bt709", matrix="bt709", range="limited", dither="error_diffusion")
            .filter("format", "yuv420p")
        )
    return node


def scaled(node: Node, video: VideoStream, treatment: SourceTreatment, *, width: int, height: int) -> Node:
    """From :func:`source_filters` to 8-bit 4:2:0 BT.709 frames of this size, with square pixels."""
    matrix = "bt709" if treatment.tone_map else source_matrix(video)
    colours = {} if matrix is None else {"in_color_matrix": matrix}
    return (
        node.filter(
            "scale",
            width,
            height,
            flags=_SCALER,
            **colours,
            out_color_matrix="bt709",
            out_range="limited",
        )
        .filter("setsar", 1)
        .filter("format", "yuv420p")
        .filter("setparams", range="limited", color_primaries="bt709", color_trc="bt709", colorspace="bt709")
    )


def _known(value: str | None, default: str) -> str:
    return default if value in {None, "", "unknown", "reserved"} else str(value)


def source_matrix(video: VideoStream) -> str | None:
    """The YCbCr matrix to read the source with; None for RGB, which has none."""
    if video.pixel_format.startswith(("gbr", "rgb", "bgr", "argb", "abgr")) or video.color_space == "gbr":
        return None
    if video.color_space in _MATRICES:
        return video.color_space
    return "bt709" if video.height >= HD_LINES else "smpte170m"


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

    node = ffmpeg.input(source if "://" in source else f"file:{source}", threads=threads, **input_options(source))
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
