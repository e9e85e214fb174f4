"""What ffmpeg and ffprobe write for people and scripts, read as facts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from include.adapters.process import Finished
from include.domain.media.content import Frame
from include.domain.media.rejection import Reason

SILENCE_LUFS = -69.0
"""ebur128 says -70 of a track in which nothing is loud enough to count."""
_FRAME = re.compile(r"^frame:\d+\s+pts:\S+\s+pts_time:(\S+)")
_INTEGRATED = re.compile(r"^ ++I: ++(-?[\d.]++|-inf|nan) LUFS", re.MULTILINE)
_PEAK = re.compile(r"^ ++Peak: ++(-?[\d.]++|-inf|nan) dBFS", re.MULTILINE)
_READ = re.compile(r"Input stream #0:(\d+) \(\w+\): [^;\n]*+; (\d+) frames decoded; (\d+) decode errors")
_DAMAGED = re.compile(r"\[[av]ist#0:(\d+)/.{0,200}?corrupt decoded frame")
_COUNTED = re.compile(rb"^frame=\s*(\d+)", re.MULTILINE)
_REACHED_US = re.compile(rb"^out_time_us=(\d+)", re.MULTILINE)
_WRITTEN = re.compile(rb"^total_size=(\d+)", re.MULTILINE)
_CUT_SHORT = re.compile(r"moov atom not found|partial file|ended prematurely|truncat|end of file", re.IGNORECASE)
_FOREIGN = re.compile(r"not on whitelist", re.IGNORECASE)
_MEANINGS = tuple(
    (re.compile(words, re.IGNORECASE), sentence)
    for words, sentence in (
        (
            r"not yet implemented|patches welcome|unsupported|not supported",
            "it uses what no decoder here has",
        ),
        (r"moov atom|partial file|ended prematurely|truncat|end of file|too short", "its data ends too early"),
        (r"non-existing|missing|no frame|reference", "pictures or headers that others need are missing"),
        (r"picture size|max_pixels|dimensions", "its pictures have an impossible size"),
        (
            r"invalid|error while decoding|corrupt|damaged|out of range|overflow|unavailable|illegal",
            "its data is damaged",
        ),
    )
)
"""What the tools' commonest complaints come down to; the first that applies."""
_LEVEL = re.compile(r"\[(?:error|fatal|panic)\]")
_MP4_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"uuid"})
_SIGNATURES = (b"\x1a\x45\xdf\xa3", b"RIFF", b"\x06\x0e\x2b\x34", b"\x47", b"\x00\x00\x01\xba")
"""First bytes of Matroska and WebM, AVI, MXF, MPEG-TS and MPEG program streams."""


def frame_time_s(count: str, clock: str) -> float:
    """A frame's time in seconds from ``{pts} {tb}`` of ``-stats_enc_pre_fmt``: ticks, and what one stands for.

    ffmpeg's own seconds have six digits: 10000.1 for 10000.04. Raises :class:`ValueError` for anything but numbers, and
    :class:`ZeroDivisionError`.
    """
    numerator, denominator = _tick(clock)
    return int(count) * numerator / denominator


@functools.cache
def _tick(clock: str) -> tuple[int, int]:
    return Fraction(clock).as_integer_ratio()


def parse_frames(lines: Iterable[str]) -> tuple[Frame, ...]:
    """Frames from the lines of the filter ``metadata=print``, with their times in the title."""
    frames: list[tuple[float, dict[str, str]]] = []
    for line in lines:
        match = _FRAME.match(line)
        if match:
            try:
                frames.append((float(match[1]), {}))
            except ValueError:
                continue
        elif frames:
            name, _, value = line.partition("=")
            frames[-1][1][name.strip()] = value.strip()
    return tuple(Frame(time_s=round(time_s, 6), metadata=metadata) for time_s, metadata in frames)


def parse_ebur128(stderr: str) -> tuple[float | None, float | None]:
    """Integrated loudness (LUFS) and true peak (dBTP) from the summary of ``ebur128``; None each in silence."""
    loudness, peak = _last(_INTEGRATED, stderr), _last(_PEAK, stderr)
    if loudness is None or loudness <= SILENCE_LUFS:
        return None, None
    return loudness, peak


def complaints(finished: Finished, path: Path, name: str) -> list[str]:
    """What a tool has said against a file, a line each; that it has failed, where it says nothing else.

    What is wrong with a rendition is published: no path of this machine stands in it.

    Args:
        finished: Its run, at a loglevel of errors alone.
        path: Of the file, on this machine.
        name: That people know it by.
    """
    said = [line.replace(str(path), name) for line in finished.stderr.splitlines() if line.strip()]
    return said or ([f"ffmpeg ended with {finished.returncode}"] if finished.returncode else [])


def frames_counted(progress: bytes) -> int:
    """Frames that left ffmpeg, by the last ``-progress`` block that counts them; 0 where none does."""
    found = _COUNTED.findall(progress)
    return int(found[-1]) if found else 0


def time_reached_s(progress: bytes) -> float:
    """Seconds of output by the last ``-progress`` block that names a time; 0 where none does."""
    found = _REACHED_US.findall(progress)
    return round(int(found[-1]) / 1e6, 6) if found else 0.0


def bytes_written(progress: bytes) -> int:
    """Bytes of the first output by the last ``-progress`` block that tells them; 0 where none does."""
    found = _WRITTEN.findall(progress)
    return int(found[-1]) if found else 0


@dataclass(frozen=True, kw_only=True)
class DecodeCounts:
    """What ffmpeg counts of a decode."""

    frames: int
    """Of the video stream, as they came from the decoder."""
    errors: int
    """Video frames that were lost or came out damaged."""
    audio_errors: int


def decode_errors(stderr: str, *, video_index: int) -> DecodeCounts:
    """The counts at the loglevel ``verbose``, where every message is repeated.

    Args:
        stderr: All of it.
        video_index: The stream that is the picture; all others that were decoded are sound.
    """
    frames = errors = audio_errors = 0
    for index, decoded, failed in _READ.findall(stderr):
        if int(index) == video_index:
            frames, errors = int(decoded), errors + int(failed)
        else:
            audio_errors += int(failed)
    for index in _DAMAGED.findall(stderr):
        if int(index) == video_index:
            errors += 1
        else:
            audio_errors += 1
    return DecodeCounts(frames=frames, errors=errors, audio_errors=audio_errors)


def last_complaint(stderr: str) -> str:
    """The last message of the level ``error`` or ``fatal``, without its origin; empty where there is none."""
    complaints = [line for line in stderr.splitlines() if "[error]" in line or "[fatal]" in line]
    return complaints[-1].rpartition("] ")[2].strip() if complaints else ""


def meaning(complaint: str) -> str:
    """What a decoder's complaint means, in words for whoever delivered the file; empty where it helps nobody."""
    return next((sentence for pattern, sentence in _MEANINGS if pattern.search(complaint)), "")


def judge_probe(stderr: str, head: bytes) -> Reason:
    """Why ffprobe could not read a file.

    Args:
        stderr: What ffprobe said.
        head: The first bytes of the file. ffprobe takes anything called .mp4 for one and then misses its index.
    """
    served = head[4:8] in _MP4_BOXES or head.startswith(_SIGNATURES)
    if served and _CUT_SHORT.search(stderr) and not _FOREIGN.search(stderr):
        return Reason.TRUNCATED
    return Reason.INVALID_TYPE


def cut_short(stderr: str) -> bool:
    """Whether a decoder's messages, each with its level in brackets, say that the file ends too early."""
    return bool(_CUT_SHORT.search("\n".join(line for line in stderr.splitlines() if _LEVEL.search(line))))


def _last(pattern: re.Pattern[str], text: str) -> float | None:
    found = pattern.findall(text)
    if not found or found[-1] in {"-inf", "nan"}:
        return None
    return float(found[-1])
