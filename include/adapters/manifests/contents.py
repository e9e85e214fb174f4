"""What a set holds, as its manifests list it, and the names of its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from include.adapters.cmaf import Track
from include.domain.media.media import AudioRole, Chapter

MASTER = "hls.m3u8"
DASH = "dash.mpd"
MEDIA = "media.m3u8"
IFRAMES = "iframe.m3u8"
WHOLE_TEXT = "full.vtt"
CHAPTERS_TEXT = "chapters.vtt"
CHAPTERS_JSON = "chapters.json"


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
    role: AudioRole = AudioRole.MAIN
    sound: str = ""
    """The same for all layouts of one sound; empty where there is one only."""


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
    chapters: tuple[Chapter, ...] = ()
    name: str | None = None
    """What the title is called."""

    @property
    def groups(self) -> dict[str, tuple[AudioEntry, ...]]:
        """Audio tracks by HLS group, all with the same members: a sound that lacks a layout is there in its first.

        So RFC 8216 asks for: a player that goes from one group to the other finds what it plays.
        """
        sounds: dict[str, dict[str, AudioEntry]] = {}
        for entry in self.audios:
            sounds.setdefault(entry.sound or entry.track.name, {})[entry.group] = entry
        names = dict.fromkeys(entry.group for entry in self.audios)
        return {name: tuple(forms.get(name, next(iter(forms.values()))) for forms in sounds.values()) for name in names}

    @property
    def tracks(self) -> Iterator[Track]:
        """Every track of picture and sound."""
        yield from (entry.track for entry in self.videos)
        yield from (entry.track for entry in self.audios)


def target_duration(tracks: Sequence[Track]) -> int:
    """The least target duration that fits every segment."""
    longest = max(segment.duration for track in tracks for segment in track.segments)
    return max(1, int(longest + Fraction(1, 2)))
