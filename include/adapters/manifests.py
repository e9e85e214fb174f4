"""The manifests of a set: written from what the segments measure, read back strictly before anything is published.

The packager's media playlists and DASH manifest are kept and corrected; the HLS master playlist is ours, because the
packager's bit rates of I-frame playlists and its default tracks are not what RFC 8216 asks for.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from include.adapters.cmaf import Sized, Track, average_bps, peak_bps
from include.domain.media.captions import Cue, cut, webvtt
from include.domain.media.languages import UNDETERMINED

MASTER = "hls.m3u8"
DASH = "dash.mpd"
MEDIA = "media.m3u8"
IFRAMES = "iframe.m3u8"
WHOLE_TEXT = "full.vtt"
SUBTITLES = "subtitles"
HEARING_IMPAIRED = "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"
"""What RFC 8216 (4.3.4.1) has for subtitles that tell sounds and speakers as well."""
OVERRUN_S = 0.5
"""How far a segment may exceed the target duration."""
END_TOLERANCE_S = 0.5
LISTED_TOLERANCE_S = 0.001
_MPD = "urn:mpeg:dash:schema:mpd:2011"
_HLS_VERSION = 6
"""What ``EXT-X-MAP`` in a playlist that is not I-frames only asks for."""


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


def target_duration(tracks: Sequence[Track]) -> int:
    """The least target duration that fits every segment."""
    longest = max(segment.duration for track in tracks for segment in track.segments)
    return max(1, int(longest + Fraction(1, 2)))


def variant_bandwidth(contents: Contents, video: Track, group: Sequence[AudioEntry]) -> tuple[int, int]:
    """Peak and average bit rate of a rung together with the dearest audio and text it can be played with."""
    text = max((entry.peak_bps for entry in contents.texts), default=0)
    peak = max((entry.track.peak_bps(contents.target_s) for entry in group), default=0)
    average = max((entry.track.average_bps for entry in group), default=0)
    return video.peak_bps(contents.target_s) + peak + text, video.average_bps + average + text


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
    for track in _tracks(contents):
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
    lines += [_audio_media(entry) for entry in contents.audios]
    lines += [_text_media(entry) for entry in contents.texts]
    videos = [entry.track for entry in contents.videos if entry.hls]
    for group in contents.groups.values() or [()]:
        lines += [line for video in videos for line in _variant(contents, video, group)]
    lines += _sound_alone(contents)
    lines += [_iframe_stream(folder, contents, video) for video in videos]
    (folder / MASTER).write_text("\n".join([*lines, ""]), encoding="utf-8")


def correct_dash(folder: Path, contents: Contents) -> None:
    """Put what was measured into the packager's DASH manifest, and add the subtitles."""
    ElementTree.register_namespace("", _MPD)
    ElementTree.register_namespace("xsi", "http://www.w3.org/2001/XMLSchema-instance")
    tree = ElementTree.parse(folder / DASH)  # noqa: S314  # reads only what the packager has just written
    period = _children(tree.getroot(), "Period")[0]
    videos = {entry.track.folder: entry.track for entry in contents.videos}
    audios = {entry.track.folder: entry for entry in contents.audios}
    for number, adaptation in enumerate(_children(period, "AdaptationSet")):
        # The packager numbers them in the order in which its threads came by.
        adaptation.set("id", str(number))
        adaptation.set("segmentAlignment", "true")
        adaptation.set("startWithSAP", "1")
        for representation in _children(adaptation, "Representation"):
            place = str(_children(representation, "SegmentTemplate")[0].get("initialization")).rpartition("/")[0]
            track = videos.get(place) or audios[place].track
            representation.set("id", track.name)
            representation.set("codecs", track.codec)
            representation.set("bandwidth", str(track.peak_bps(contents.target_s)))
            if track.kind == "video":
                representation.set("width", str(track.width))
                representation.set("height", str(track.height))
                representation.set("frameRate", str(track.frame_rate))
                adaptation.attrib.pop("frameRate", None)
            else:
                _describe(adaptation, audios[place])
    for number, text in enumerate(contents.texts, start=len(_children(period, "AdaptationSet"))):
        _add_text(period, number, text)
    ElementTree.indent(tree)
    tree.write(folder / DASH, encoding="utf-8", xml_declaration=True)


def faults(folder: Path, contents: Contents) -> list[str]:
    """What is wrong with a finished set, in sentences: manifests parsed strictly, every reference followed."""
    return [*_hls_faults(folder, contents), *_dash_faults(folder), *_alignment_faults(contents)]


def _measured_durations(path: Path, track: Track) -> None:
    durations = {segment.name: segment.duration for segment in track.segments}
    lines = path.read_text().splitlines()
    for position, line in enumerate(lines[1:], start=1):
        if line in durations:
            lines[position - 1] = f"#EXTINF:{float(durations[line]):.6f},"
    path.write_text("\n".join([*lines, ""]))


def _audio_media(entry: AudioEntry) -> str:
    return _tag(
        "EXT-X-MEDIA",
        TYPE="AUDIO",
        GROUP_ID=_quoted(entry.group),
        NAME=_quoted(entry.label),
        LANGUAGE=_language(entry.language),
        DEFAULT="YES" if entry.default else "NO",
        AUTOSELECT="YES",
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


def _variant(contents: Contents, video: Track, group: Sequence[AudioEntry]) -> list[str]:
    peak, average = variant_bandwidth(contents, video, group)
    codecs = dict.fromkeys([video.codec, *(entry.track.codec for entry in group)])
    tag = _tag(
        "EXT-X-STREAM-INF",
        BANDWIDTH=str(peak),
        AVERAGE_BANDWIDTH=str(average),
        CODECS=_quoted(",".join(codecs)),
        RESOLUTION=f"{video.width}x{video.height}",
        FRAME_RATE=f"{float(video.frame_rate):.3f}",
        AUDIO=_quoted(group[0].group) if group else None,
        SUBTITLES=_quoted(SUBTITLES) if contents.texts else None,
        CLOSED_CAPTIONS="NONE",
    )
    return [tag, f"{video.folder}/{MEDIA}"]


def _sound_alone(contents: Contents) -> list[str]:
    """The audio-only variant, for when the network carries no picture (Apple's HLS authoring specification)."""
    if not contents.audios:
        return []
    group = next(iter(contents.groups.values()))
    default = next((entry for entry in group if entry.default), group[0])
    tag = _tag(
        "EXT-X-STREAM-INF",
        BANDWIDTH=str(max(entry.track.peak_bps(contents.target_s) for entry in group)),
        AVERAGE_BANDWIDTH=str(max(entry.track.average_bps for entry in group)),
        CODECS=_quoted(",".join(dict.fromkeys(entry.track.codec for entry in group))),
        AUDIO=_quoted(default.group),
    )
    return [tag, f"{default.track.folder}/{MEDIA}"]


def _iframes(path: Path) -> list[Sized]:
    playlist = _parsed(path)
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


def _tracks(contents: Contents) -> Iterator[Track]:
    yield from (entry.track for entry in contents.videos)
    yield from (entry.track for entry in contents.audios)


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return element.findall(f"{{{_MPD}}}{name}")


def _describe(adaptation: ElementTree.Element, entry: AudioEntry) -> None:
    adaptation.attrib.pop("lang", None)
    if entry.language != UNDETERMINED:
        adaptation.set("lang", entry.language)
    for label in _children(adaptation, "Label"):
        label.text = entry.label
    for role in _children(adaptation, "Role"):
        adaptation.remove(role)
    # The schema has labels before roles, and both before the representations.
    place = len(_children(adaptation, "Label"))
    adaptation.insert(place, _role("main" if entry.default else "alternate"))


def _role(value: str) -> ElementTree.Element:
    return ElementTree.Element(f"{{{_MPD}}}Role", {"schemeIdUri": "urn:mpeg:dash:role:2011", "value": value})


def _add_text(period: ElementTree.Element, number: int, text: TextEntry) -> None:
    language = {} if text.language == UNDETERMINED else {"lang": text.language}
    adaptation = ElementTree.SubElement(
        period,
        f"{{{_MPD}}}AdaptationSet",
        {"id": str(number), "contentType": "text", "mimeType": "text/vtt"} | language,
    )
    ElementTree.SubElement(adaptation, f"{{{_MPD}}}Label").text = text.label
    if text.hearing_impaired:
        # The schema has accessibility before roles. 2 of this scheme is "for the hard of hearing".
        purpose = {"schemeIdUri": "urn:tva:metadata:cs:AudioPurposeCS:2007", "value": "2"}
        ElementTree.SubElement(adaptation, f"{{{_MPD}}}Accessibility", purpose)
    kind = "forced-subtitle" if text.forced else "caption" if text.hearing_impaired else "subtitle"
    adaptation.extend([_role("main")] if text.default else [])
    adaptation.append(_role(kind))
    representation = ElementTree.SubElement(
        adaptation, f"{{{_MPD}}}Representation", {"id": text.name, "bandwidth": str(text.peak_bps)}
    )
    ElementTree.SubElement(representation, f"{{{_MPD}}}BaseURL").text = f"{text.folder}/{WHOLE_TEXT}"


def _parsed(path: Path) -> Any:
    import m3u8

    try:
        return m3u8.M3U8(path.read_text(encoding="utf-8"), strict=True)
    except m3u8.ParseError as error:
        raise ValueError(str(error)) from error


def _hls_faults(folder: Path, contents: Contents) -> Iterator[str]:
    try:
        master = _parsed(folder / MASTER)
    except ValueError as error:
        yield f"{MASTER}: {error}"
        return
    wanted = len(contents.groups or {"": ()}) * sum(entry.hls for entry in contents.videos) + bool(contents.audios)
    if len(master.playlists) != wanted:
        yield f"{MASTER}: has {len(master.playlists)} variants instead of {wanted}"
    tracks = {f"{track.folder}/{MEDIA}": track for track in _tracks(contents)}
    references = [entry.uri for entry in (*master.playlists, *master.iframe_playlists, *master.media)]
    for reference in dict.fromkeys(references):
        yield from _playlist_faults(folder / reference, reference, tracks.get(reference))


def _playlist_faults(path: Path, name: str, track: Track | None) -> Iterator[str]:
    try:
        playlist = _parsed(path)
    except (OSError, ValueError) as error:
        yield f"{name}: {error}"
        return
    if str(playlist.playlist_type).lower() != "vod" or not playlist.is_endlist:
        yield f"{name}: is not a finished VOD playlist"
    if not playlist.segments:
        yield f"{name}: lists no segments"
    if track is not None:
        yield from _listing_faults(playlist, name, track)
    for segment in playlist.segments:
        if segment.duration > playlist.target_duration + OVERRUN_S:
            yield f"{name}: {segment.uri} lasts {segment.duration:.3f} s, the target is {playlist.target_duration} s"
        size = _size(path.parent / segment.uri)
        end = sum(int(part) for part in segment.byterange.split("@")) if segment.byterange else 1
        if size < end:
            yield f"{name}: {segment.uri} is missing or too short ({size} bytes)"
    for section in playlist.segment_map:
        if not _size(path.parent / section.uri):
            yield f"{name}: {section.uri} is missing or empty"


def _listing_faults(playlist: Any, name: str, track: Track) -> Iterator[str]:
    if [segment.uri for segment in playlist.segments] != [segment.name for segment in track.segments]:
        yield f"{name}: does not list the segments that are there"
        return
    for listed, measured in zip(playlist.segments, track.segments, strict=True):
        if abs(listed.duration - measured.duration) > LISTED_TOLERANCE_S:
            seconds = float(measured.duration)
            yield f"{name}: {listed.uri} lasts {seconds:.3f} s, listed are {listed.duration:.3f} s"


def _dash_faults(folder: Path) -> Iterator[str]:
    from mpegdash.parser import MPEGDASHParser

    try:
        manifest = MPEGDASHParser.parse(str(folder / DASH))
    except Exception as error:  # the parser raises whatever its XML library does
        yield f"{DASH}: {error}"
        return
    for adaptation in manifest.periods[0].adaptation_sets:
        for representation in adaptation.representations:
            for reference in _dash_references(representation):
                if not _size(folder / reference):
                    yield f"{DASH}: {reference} is missing or empty"


def _dash_references(representation: Any) -> Iterator[str]:
    for address in representation.base_urls or ():
        yield address.base_url_value
    for template in representation.segment_templates or ():
        yield template.initialization
        count = sum(1 + (entry.r or 0) for timeline in template.segment_timelines for entry in timeline.Ss)
        for number in range(template.start_number, template.start_number + count):
            yield template.media.replace("$Number%05d$", f"{number:05d}")


def _alignment_faults(contents: Contents) -> Iterator[str]:
    first = contents.videos[0].track
    for track in _tracks(contents):
        if any(not segment.sync for segment in track.segments):
            yield f"{track.folder}: a segment does not start with a sync sample"
        if abs(track.duration - first.duration) > END_TOLERANCE_S:
            yield f"{track.folder}: lasts {float(track.duration):.3f} s, {first.folder} {float(first.duration):.3f} s"
    for entry in contents.videos[1:]:
        if [segment.start for segment in entry.track.segments] != [segment.start for segment in first.segments]:
            yield f"{entry.track.folder}: its segments do not start where those of {first.folder} do"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
