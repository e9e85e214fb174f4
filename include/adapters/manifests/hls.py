"""The HLS playlists: the packager's media playlists corrected, the master and the subtitles written."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from include.adapters.cmaf import Sized, Track, average_bps, peak_bps
from include.adapters.manifests.contents import (
    CHAPTERS_JSON,
    IFRAMES,
    MASTER,
    MEDIA,
    WHOLE_TEXT,
    AudioEntry,
    Contents,
    TextEntry,
)
from include.domain.media.captions import Cue, cut, webvtt
from include.domain.media.languages import UNDETERMINED
from include.domain.media.media import AudioRole

SUBTITLES = "subtitles"
HEARING_IMPAIRED = "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"
"""What RFC 8216 (4.3.4.1) has for subtitles that tell sounds and speakers as well."""
_TITLE = "com.apple.hls.title"
_CHAPTERS = "com.apple.hls.chapters"
_CHARACTERISTICS = {
    AudioRole.DESCRIPTION: "public.accessibility.describes-video",
    AudioRole.CLEAR_SPEECH: "public.accessibility.enhances-speech-intelligibility",
    AudioRole.COMMENTARY: "public.auxiliary-content",
    AudioRole.EFFECTS: "public.auxiliary-content",
}
_BY_HAND = frozenset({AudioRole.COMMENTARY, AudioRole.EFFECTS})
"""What a viewer plays only by asking for it."""
_HLS_VERSION = 6
"""What ``EXT-X-MAP`` in a playlist that is not I-frames only asks for."""


def write_text(
    folder: Path, name: str, cues: Sequence[Cue], durations: Sequence[Fraction], *, target_s: int
) -> tuple[int, int]:
    """Write one subtitle track: WebVTT segments over the whole title, their playlist, and one file for DASH.

    Returns peak bits per second and size in bytes.
    """
    place = folder / "text" / name
    place.mkdir(parents=True)
    lines = _playlist_head(target_s)
    sized: list[Sized] = []
    for number, (content, duration) in enumerate(zip(cut(cues, durations), durations, strict=True), start=1):
        data = content.encode()
        (place / f"{number:05d}.vtt").write_bytes(data)
        sized.append((len(data), duration))
        lines += [f"#EXTINF:{float(duration):.6f},", f"{number:05d}.vtt"]
    (place / MEDIA).write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    (place / WHOLE_TEXT).write_text(webvtt(cues), encoding="utf-8")
    return peak_bps(sized, target_s), sum(size for size, _ in sized)


def correct_media_playlists(folder: Path, contents: Contents) -> None:
    """Correct the packager's playlists: measured durations, one target duration, no comment that strict parsers refuse.

    The packager leaves the encoder's delay out of the first audio segment's duration, though the decode times of all
    that follow count it in: a player that maps one to the other would play the sound after a jump that much early.
    """
    for track in contents.tracks:
        for name in (MEDIA, IFRAMES):
            path = folder / track.folder / name
            if path.exists():
                kept = (line for line in path.read_text().splitlines() if not line.startswith("##"))
                target = f"#EXT-X-TARGETDURATION:{contents.target_s}"
                lines = [target if line.startswith("#EXT-X-TARGETDURATION:") else line for line in kept]
                path.write_text("\n".join([*lines, ""]))
        if (folder / track.folder / MEDIA).exists():
            _measured_durations(folder / track.folder / MEDIA, track)


def write_master(folder: Path, contents: Contents) -> None:
    """Write the HLS master playlist."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_HLS_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += _session_data(contents)
    for name, members in contents.groups.items():
        lines += _audio_group(name, members)
    lines += [_text_media(entry) for entry in contents.texts]
    videos = [entry.track for entry in contents.videos if entry.hls]
    groups: list[str | None] = [*contents.groups]
    for group in groups or [None]:
        lines += [line for video in videos for line in _variant(contents, video, group)]
    lines += _sound_alone(contents)
    lines += [_iframe_stream(folder, contents, video) for video in videos]
    (folder / MASTER).write_text("\n".join([*lines, ""]), encoding="utf-8")


def variant_bandwidth(contents: Contents, video: Track, group: Sequence[AudioEntry]) -> tuple[int, int]:
    """Peak and average bit rate of a rung together with the dearest audio and text it can be played with."""
    text = max((entry.peak_bps for entry in contents.texts), default=0)
    peak = max((entry.track.peak_bps(contents.target_s) for entry in group), default=0)
    average = max((entry.track.average_bps for entry in group), default=0)
    return video.peak_bps(contents.target_s) + peak + text, video.average_bps + average + text


def parsed(path: Path) -> Any:
    """A playlist as the strict parser reads it; raises :class:`ValueError`."""
    import m3u8

    try:
        return m3u8.M3U8(path.read_text(encoding="utf-8"), strict=True)
    except m3u8.ParseError as error:
        raise ValueError(str(error)) from error


def _measured_durations(path: Path, track: Track) -> None:
    durations = {segment.name: segment.duration for segment in track.segments}
    lines = path.read_text().splitlines()
    for position, line in enumerate(lines[1:], start=1):
        if line in durations:
            lines[position - 1] = f"#EXTINF:{float(durations[line]):.6f},"
    path.write_text("\n".join([*lines, ""]))


def _session_data(contents: Contents) -> list[str]:
    name = [_tag("EXT-X-SESSION-DATA", DATA_ID=_quoted(_TITLE), VALUE=_quoted(contents.name))] if contents.name else []
    chapters = [_tag("EXT-X-SESSION-DATA", DATA_ID=_quoted(_CHAPTERS), URI=_quoted(CHAPTERS_JSON))]
    return [*name, *(chapters if contents.chapters else [])]


def _audio_group(group: str, members: Sequence[AudioEntry]) -> list[str]:
    """A group's tracks; those that a player may choose by itself differ in language or in what they are for."""
    seen: set[tuple[str, AudioRole]] = set()
    lines = []
    for entry in members:
        of_itself = entry.role not in _BY_HAND and (entry.language, entry.role) not in seen
        seen.add((entry.language, entry.role))
        lines.append(_audio_media(group, entry, of_itself=of_itself or entry.default))
    return lines


def _audio_media(group: str, entry: AudioEntry, *, of_itself: bool) -> str:
    characteristics = _CHARACTERISTICS.get(entry.role)
    return _tag(
        "EXT-X-MEDIA",
        TYPE="AUDIO",
        GROUP_ID=_quoted(group),
        NAME=_quoted(entry.label),
        LANGUAGE=_language(entry.language),
        DEFAULT="YES" if entry.default else "NO",
        AUTOSELECT="YES" if of_itself else "NO",
        CHARACTERISTICS=_quoted(characteristics) if characteristics else None,
        CHANNELS=_quoted(str(entry.track.channels)),
        URI=_quoted(f"{entry.track.folder}/{MEDIA}"),
    )


def _text_media(entry: TextEntry) -> str:
    return _tag(
        "EXT-X-MEDIA",
        TYPE="SUBTITLES",
        GROUP_ID=_quoted(SUBTITLES),
        NAME=_quoted(entry.label),
        LANGUAGE=_language(entry.language),
        DEFAULT="YES" if entry.default else "NO",
        AUTOSELECT="YES",
        FORCED="YES" if entry.forced else "NO",
        CHARACTERISTICS=_quoted(HEARING_IMPAIRED) if entry.hearing_impaired else None,
        URI=_quoted(f"{entry.folder}/{MEDIA}"),
    )


def _iframe_stream(folder: Path, contents: Contents, video: Track) -> str:
    frames = _iframes(folder / video.folder / IFRAMES)
    return _tag(
        "EXT-X-I-FRAME-STREAM-INF",
        BANDWIDTH=str(peak_bps(frames, contents.target_s)),
        AVERAGE_BANDWIDTH=str(average_bps(frames)),
        CODECS=_quoted(video.codec),
        RESOLUTION=f"{video.width}x{video.height}",
        URI=_quoted(f"{video.folder}/{IFRAMES}"),
    )


def _variant(contents: Contents, video: Track, group: str | None) -> list[str]:
    members = contents.groups[group] if group else ()
    peak, average = variant_bandwidth(contents, video, members)
    codecs = dict.fromkeys([video.codec, *(entry.track.codec for entry in members)])
    tag = _tag(
        "EXT-X-STREAM-INF",
        BANDWIDTH=str(peak),
        AVERAGE_BANDWIDTH=str(average),
        CODECS=_quoted(",".join(codecs)),
        RESOLUTION=f"{video.width}x{video.height}",
        FRAME_RATE=f"{float(video.frame_rate):.3f}",
        AUDIO=_quoted(group) if group else None,
        SUBTITLES=_quoted(SUBTITLES) if contents.texts else None,
        CLOSED_CAPTIONS="NONE",
    )
    return [tag, f"{video.folder}/{MEDIA}"]


def _sound_alone(contents: Contents) -> list[str]:
    """The audio-only variant, for when the network carries no picture (Apple's HLS authoring specification)."""
    if not contents.audios:
        return []
    name, group = next(iter(contents.groups.items()))
    default = next((entry for entry in group if entry.default), group[0])
    tag = _tag(
        "EXT-X-STREAM-INF",
        BANDWIDTH=str(max(entry.track.peak_bps(contents.target_s) for entry in group)),
        AVERAGE_BANDWIDTH=str(max(entry.track.average_bps for entry in group)),
        CODECS=_quoted(",".join(dict.fromkeys(entry.track.codec for entry in group))),
        AUDIO=_quoted(name),
    )
    return [tag, f"{default.track.folder}/{MEDIA}"]


def _iframes(path: Path) -> list[Sized]:
    playlist = parsed(path)
    return [
        (int(segment.byterange.partition("@")[0]), Fraction(str(segment.duration))) for segment in playlist.segments
    ]


def _tag(name: str, **attributes: str | None) -> str:
    given = (f"{key.replace('_', '-')}={value}" for key, value in attributes.items() if value is not None)
    return f"#{name}:{','.join(given)}"


def _quoted(value: str) -> str:
    return '"' + "".join(char for char in value if char.isprintable() and char != '"') + '"'


def _language(language: str) -> str | None:
    return None if language == UNDETERMINED else _quoted(language)


def _playlist_head(target_s: int) -> list[str]:
    return [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_HLS_VERSION}",
        f"#EXT-X-TARGETDURATION:{target_s}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    ]
