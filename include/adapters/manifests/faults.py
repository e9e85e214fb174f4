"""Reads a finished set back, strictly, before anything is published: what is wrong with it, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from include.adapters.cmaf import Track
from include.adapters.manifests.contents import DASH, MASTER, MEDIA, Contents
from include.adapters.manifests.hls import parsed

OVERRUN_S = 0.5
"""How far a segment may exceed the target duration."""
END_TOLERANCE_S = 0.5
LISTED_TOLERANCE_S = 0.001


def faults(folder: Path, contents: Contents) -> list[str]:
    """What is wrong with a finished set, in sentences: manifests parsed strictly, every reference followed."""
    return [*_hls_faults(folder, contents), *_dash_faults(folder), *_alignment_faults(contents)]


def _hls_faults(folder: Path, contents: Contents) -> Iterator[str]:
    try:
        master = parsed(folder / MASTER)
    except ValueError as error:
        yield f"{MASTER}: {error}"
        return
    wanted = len(contents.groups or {"": ()}) * sum(entry.hls for entry in contents.videos) + bool(contents.audios)
    if len(master.playlists) != wanted:
        yield f"{MASTER}: has {len(master.playlists)} variants instead of {wanted}"
    tracks = {f"{track.folder}/{MEDIA}": track for track in contents.tracks}
    references = [entry.uri for entry in (*master.playlists, *master.iframe_playlists, *master.media)]
    for reference in dict.fromkeys(references):
        yield from _playlist_faults(folder / reference, reference, tracks.get(reference))


def _playlist_faults(path: Path, name: str, track: Track | None) -> Iterator[str]:
    try:
        playlist = parsed(path)
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
    for track in contents.tracks:
        if any(not segment.sync for segment in track.segments):
            yield f"{track.folder}: a segment does not start with a sync sample"
        if abs(track.duration - first.duration) > END_TOLERANCE_S:
            yield f"{track.folder}: lasts {float(track.duration):.3f} s, {first.folder} {float(first.duration):.3f} s"
    for entry in contents.videos[1:]:
        if [segment.start for segment in entry.track.segments] != [segment.start for segment in first.segments]:
            yield f"{entry.track.folder}: its segments do not start where those of {first.folder} do"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
