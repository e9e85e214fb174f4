"""How a media tool opens what comes from outside: what it may open, and on which clock it reads a mezzanine.

Containers begin at any time, and their streams begin apart. Left to itself ffmpeg takes the beginning of what a call
reads for zero: of a transport stream that is the start of the mapped streams alone, so that a call that reads the sound
and one that reads the picture count from different moments. :class:`OpenedMezzanine` opens a mezzanine so that every
call counts from the title's zero, which the inspection has fixed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from include.adapters.tools import certificates

CONTAINERS = ("mov", "mp4", "avi", "matroska", "webm", "mxf", "mpegts", "mpeg")
"""Demuxers that may open a mezzanine. None of them opens further files: no playlists, no concat scripts."""
MAX_SIDE = 8192
PROBE_BYTES = 20_000_000
PROBE_US = 20_000_000
"""How far a demuxer looks for streams; the same for ffprobe and ffmpeg, so that stream indexes agree."""
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
_BACK_S = (1.0, 12.0, 60.0)
"""How far before the wanted moment a search for a keyframe begins, try by try. The last try reads from the start."""


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
    return [*arguments(input_options(address)), "-i", target_of(address)]


def target_of(address: str) -> str:
    """An address as ffmpeg takes it."""
    # Without the prefix a path with a colon would be read as a protocol.
    return address if "://" in address else f"file:{address}"


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as arguments; None stands for one that takes no value."""
    return [part for name, value in options.items() for part in (f"-{name}", *(() if value is None else (str(value),)))]


@dataclass(frozen=True, kw_only=True)
class OpenedMezzanine:
    """A mezzanine as every call of ffmpeg opens it: pictures, sounds and cues come with their times in the title."""

    address: str
    """A path, or a presigned address of the store."""
    origin_s: float = 0.0
    """The title's zero on the container's own clock, in seconds."""
    seeks: bool = True
    """Whether a decoder that starts in the middle gives right pictures; where not, all is read from the start."""

    @property
    def target(self) -> str:
        """The address as ffmpeg takes it."""
        return target_of(self.address)

    def options(self, *, from_s: float = 0.0) -> dict[str, Any]:
        """Options of the input, for ffmpeg-python; those without a value are None.

        Args:
            from_s: In the title, in seconds. Reading may begin with a picture before it. It is a hint: a container
                without an index may be read from a later picture on (:func:`include.adapters.ffmpeg.landing.reach`).
                The wanted stretch is cut by the times that pictures and sounds have, with a filter.
        """
        seek: dict[str, Any] = {}
        if self.seeks and from_s > 0:
            # On the container's clock, as its zero may be another than the title's. Cutting at the wanted time is left
            # to a filter: ffmpeg's own cut does not know of the offset.
            seek = {"seek_timestamp": 1, "ss": f"{self.origin_s + from_s:.6f}", "noaccurate_seek": None}
        # With copyts the times stay those of the container, whichever streams a call reads.
        return {**input_options(self.address), "copyts": None, "itsoffset": f"{0.0 - self.origin_s:.6f}", **seek}

    def argv(self, *, from_s: float = 0.0) -> list[str]:
        """:meth:`options` as arguments, ``-i`` included."""
        return [*arguments(self.options(from_s=from_s)), "-i", self.target]

    def tries(self, at_s: float) -> Iterator[float]:
        """Hints for :meth:`options`, from near before ``at_s`` to the title's beginning."""
        if self.seeks:
            yield from (at_s - back for back in _BACK_S if at_s - back > 0)
        yield 0.0
