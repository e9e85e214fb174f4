"""Sources in which picture and sound tell the same time: a white picture and a beep of 1 kHz at the same moments."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from tests.clips import AAC, H264, run_ffmpeg

BEEP_S = 0.08


def make_synced(
    path: Path,
    *,
    at: tuple[float, ...] = (1.0, 3.0),
    seconds: float = 4.0,
    picture_from: float = 0.0,
    sound_from: float = 0.0,
    size: str = "160x90",
    rate: str = "25",
    video: tuple[str, ...] = H264,
    audio: tuple[str, ...] = AAC,
    picture: str = "testsrc2",
    extra: tuple[str, ...] = (),
    filters: str = "",
) -> Path:
    """Make one; both streams count from the same zero and end together.

    Args:
        path: Where to write it; the suffix gives the container.
        at: Seconds at which one picture is white and 80 ms of sound begin. Everything between is moving and silent.
        seconds: Where both end.
        picture_from: Where the picture begins: what is before it is left out, what follows keeps its time.
        sound_from: The same of the sound.
        size: ``<width>x<height>``.
        rate: Frames per second, as a fraction.
        video: Output options of the picture.
        audio: Output options of the sound.
        picture: lavfi source.
        extra: Further output options.
        filters: Further video filters, behind the flashes.
    """
    frames = "+".join(f"eq(n,{round(Fraction(moment) * Fraction(rate))})" for moment in at)
    moments = "+".join(f"between(t,{moment},{moment + BEEP_S})" for moment in at)
    heard = f"aformat=channel_layouts=stereo,atrim=start={sound_from}"
    looks = [
        f"drawbox=color=white:thickness=fill:enable='{frames}'",
        f"trim=start={picture_from}",
        *([filters] if filters else []),
    ]
    run_ffmpeg(
        [
            *("-f", "lavfi", "-i", f"{picture}=size={size}:rate={rate}:duration={seconds}"),
            *("-f", "lavfi", "-i", f"aevalsrc='0.5*sin(2*PI*1000*t)*({moments})':s=48000:d={seconds}"),
            *("-filter_complex", f"[0:v]{','.join(looks)}[v];[1:a]{heard}[a]"),
            *("-map", "[v]", "-map", "[a]", "-fps_mode", "passthrough", *video, *audio, *extra, str(path)),
        ]
    )  # fmt: skip
    return path
