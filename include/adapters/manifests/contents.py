"""What a set holds, as its manifests list it, and the names of its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from include.adapters.cmaf import Track

MASTER = "hls.m3u8"
DASH = "dash.mpd"
MEDIA = "media.m3u8"
IFRAMES = "iframe.m3u8"
WHOLE_TEXT = "full.vtt"


@dataclass(frozen=True, kw_only=True)
class VideoEntry:
    """One rung in the manifests."""

    track: Track
    hls: bool


@dataclass(frozen=True, kw_only=True)
class AudioEntry:
    """One audio track in the manifests."""

    track: Track
    language: str
    label: str
    group: str
    default: bool


@dataclass(frozen=True, kw_only=True)
class TextEntry:
    """One subtitle track in the manifests."""

    name: str
    language: str
    label: str
    forced: bool
    hearing_impaired: bool = False
    default: bool = False
    peak_bps: int
    size_bytes: int

    @property
    def folder(self) -> str:
        """Its folder, relative to the set."""
        return f"text/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All tracks of a set."""

    videos: tuple[VideoEntry, ...]
    """Lowest rung first."""
    audios: tuple[AudioEntry, ...]
    """The default track first."""
    texts: tuple[TextEntry, ...]
    target_s: int
    """``EXT-X-TARGETDURATION`` of all playlists."""

    @property
    def groups(self) -> dict[str, tuple[AudioEntry, ...]]:
        """Audio tracks by HLS group."""
        names = dict.fromkeys(entry.group for entry in self.audios)
        return {name: tuple(entry for entry in self.audios if entry.group == name) for name in names}

    @property
    def tracks(self) -> Iterator[Track]:
        """Every track of picture and sound."""
        yield from (entry.track for entry in self.videos)
        yield from (entry.track for entry in self.audios)


def target_duration(tracks: Sequence[Track]) -> int:
    """The least target duration that fits every segment."""
    longest = max(segment.duration for track in tracks for segment in track.segments)
    return max(1, int(longest + Fraction(1, 2)))
