"""What the manifests and boxes of a published set declare, read without any of the product's code.

Used by :mod:`tests.reader`, which decodes.
"""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A segment as a manifest lists it."""

    path: Path
    start_s: Fraction
    """By the manifest: the segments before it added up (HLS), or its time in the timeline (DASH)."""
    duration_s: Fraction


@dataclass(frozen=True, kw_only=True)
class Track:
    """A track as a manifest declares it. What a manifest does not say is None or empty."""

    kind: str
    """``video``, ``audio`` or ``text``."""
    name: str
    """Its folder's name."""
    language: str | None = None
    label: str | None = None
    default: bool = False
    forced: bool = False
    group: str | None = None
    """HLS group."""
    roles: tuple[str, ...] = ()
    """Values of DASH's Role and Accessibility."""
    characteristics: tuple[str, ...] = ()
    """Of HLS."""
    channels: str | None = None
    codecs: str = ""
    size: tuple[int, int] | None = None
    init: Path | None = None
    segments: tuple[Listed, ...] = ()

    @property
    def declared_s(self) -> float:
        """Length by the manifest."""
        return float(sum((segment.duration_s for segment in self.segments), Fraction(0)))

    @cached_property
    def data(self) -> bytes:
        """Init segment and all segments, as a source buffer gets them."""
        init = self.init.read_bytes() if self.init else b""
        return init + b"".join(segment.path.read_bytes() for segment in self.segments)

    @cached_property
    def boxes(self) -> Boxes:
        """Clock, edit list and decode times."""
        return read_boxes(self)


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """What the boxes of a track say of time."""

    timescale: int
    skipped_s: Fraction
    """Media time that the edit list begins at: the encoder's delay of AAC."""
    starts_s: tuple[Fraction, ...]
    """Decode time of each segment's first sample, the skipped time not yet taken off."""
    durations_s: tuple[Fraction, ...]
    samples: tuple[int, ...]
    """Access units of each segment."""

    @property
    def end_s(self) -> float:
        """Where the last sample ends, on the title's clock."""
        return float(self.starts_s[-1] + self.durations_s[-1] - self.skipped_s)


def hls_tracks(folder: Path) -> tuple[Track, ...]:
    """What the HLS master playlist names: every rung, audio track and subtitle."""
    tracks: list[Track] = []
    lines = (folder / "hls.m3u8").read_text(encoding="utf-8").splitlines()
    media = [_attributes(line) for line in lines if line.startswith("#EXT-X-MEDIA:")]
    sounds = {each["URI"] for each in media if "URI" in each}
    for line, following in pairwise(lines):
        if line.startswith("#EXT-X-STREAM-INF:") and following not in sounds:
            said = _attributes(line)
            width, _, height = said.get("RESOLUTION", "0x0").partition("x")
            if following not in {f"video/{track.name}/media.m3u8" for track in tracks}:
                tracks.append(
                    _hls_track(
                        folder / following, "video", codecs=said.get("CODECS", ""), size=(int(width), int(height))
                    )
                )
    for said in media:
        kind = {"AUDIO": "audio", "SUBTITLES": "text"}.get(said["TYPE"])
        if kind is None or "URI" not in said:
            continue
        tracks.append(
            _hls_track(
                folder / said["URI"],
                kind,
                language=said.get("LANGUAGE"),
                label=said.get("NAME"),
                default=said.get("DEFAULT") == "YES",
                forced=said.get("FORCED") == "YES",
                group=said.get("GROUP-ID"),
                characteristics=tuple(filter(None, said.get("CHARACTERISTICS", "").split(","))),
                channels=said.get("CHANNELS"),
            )
        )
    return tuple(tracks)


def _hls_track(playlist: Path, kind: str, **said: Any) -> Track:
    init, segments, start, duration = None, [], Fraction(0), Fraction(0)
    for line in playlist.read_text(encoding="utf-8").splitlines():
        if line.startswith("#EXT-X-MAP:"):
            init = playlist.parent / _attributes(line)["URI"]
        elif line.startswith("#EXTINF:"):
            duration = Fraction(line.removeprefix("#EXTINF:").split(",")[0])
        elif line and not line.startswith("#"):
            segments.append(Listed(path=playlist.parent / line, start_s=start, duration_s=duration))
            start += duration
    return Track(kind=kind, name=playlist.parent.name, init=init, segments=tuple(segments), **said)


def _attributes(line: str) -> dict[str, str]:
    found = re.findall(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)', line.partition(":")[2])
    return {name: value.strip('"') for name, value in found}


def dash_tracks(folder: Path) -> tuple[tuple[Track, ...], float]:
    """What the DASH manifest names, every representation of its one period, and its ``mediaPresentationDuration``."""
    root = ElementTree.parse(folder / "dash.mpd").getroot()
    period = _all(root, "Period")[0]
    tracks = tuple(
        _dash_track(folder, adaptation, representation)
        for adaptation in _all(period, "AdaptationSet")
        for representation in _all(adaptation, "Representation")
    )
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", root.get("mediaPresentationDuration", ""))
    assert match, "the manifest does not say how long it is"
    parts = zip(match.groups(), (3600, 60, 1), strict=True)
    return tracks, sum(float(part or 0) * unit for part, unit in parts)


def _dash_track(folder: Path, adaptation: Any, representation: Any) -> Track:
    mime = representation.get("mimeType") or adaptation.get("mimeType") or ""
    kind = adaptation.get("contentType") or mime.partition("/")[0]
    label = _all(adaptation, "Label")
    channels = _all(representation, "AudioChannelConfiguration")
    said: dict[str, Any] = {
        "kind": kind,
        "name": representation.get("id"),
        "language": adaptation.get("lang"),
        "label": label[0].text if label else None,
        "roles": tuple(each.get("value") for name in ("Role", "Accessibility") for each in _all(adaptation, name)),
        "channels": channels[0].get("value") if channels else None,
        "codecs": representation.get("codecs") or "",
    }
    said["default"] = kind == "audio" and "main" in said["roles"]
    said["forced"] = "forced-subtitle" in said["roles"]
    if kind == "video":
        said["size"] = (int(representation.get("width")), int(representation.get("height")))
    templates = _all(representation, "SegmentTemplate")
    if not templates:
        path = folder / str(_all(representation, "BaseURL")[0].text)
        return Track(**said, segments=(Listed(path=path, start_s=Fraction(0), duration_s=Fraction(0)),))
    template = templates[0]
    scale, number = int(template.get("timescale", "1")), int(template.get("startNumber", "1"))
    offset, start, segments = int(template.get("presentationTimeOffset", "0")), 0, []
    for entry in _all(_all(template, "SegmentTimeline")[0], "S"):
        start, length = int(entry.get("t", start)), int(entry.get("d", "0"))
        for _ in range(1 + int(entry.get("r", "0"))):
            path = folder / template.get("media", "").replace("$Number%05d$", f"{number:05d}")
            begins = Fraction(start - offset, scale)
            segments.append(Listed(path=path, start_s=begins, duration_s=Fraction(length, scale)))
            start, number = start + length, number + 1
    return Track(**said, init=folder / template.get("initialization", ""), segments=tuple(segments))


def _all(element: Any, name: str) -> list[Any]:
    return element.findall(f"{{urn:mpeg:dash:schema:mpd:2011}}{name}")


def read_boxes(track: Track) -> Boxes:
    """Clock, edit list and decode times of a track, straight from its boxes."""
    init = track.init.read_bytes() if track.init else b""
    header = _box(init, "moov", "trak", "mdia", "mdhd")
    timescale = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]
    edits = _box(init, "moov", "trak", "edts", "elst", missing=b"")
    skipped = 0
    if edits:
        wide = edits[0] == 1
        assert struct.unpack_from(">I", edits, 4)[0] == 1, f"{track.name}: more than one edit"
        skipped = struct.unpack_from(">q" if wide else ">i", edits, 16 if wide else 12)[0]
    usual = struct.unpack_from(">I", _box(init, "moov", "mvex", "trex"), 12)[0]
    starts, durations, samples = [], [], []
    for segment in track.segments:
        start, ticks, units = None, 0, 0
        for kind, body in _boxes(segment.path.read_bytes()):
            if kind != "moof":
                continue
            time = _box(body, "traf", "tfdt")
            at = struct.unpack_from(">Q" if time[0] == 1 else ">I", time, 4)[0]
            start = at if start is None else start
            assert at == start + ticks, f"{segment.path.name}: a fragment starts {at - start - ticks} ticks off"
            more_units, more_ticks = _run(_box(body, "traf"), usual)
            units, ticks = units + more_units, ticks + more_ticks
        assert start is not None, f"{segment.path} holds no fragment"
        starts.append(Fraction(start, timescale))
        durations.append(Fraction(ticks, timescale))
        samples.append(units)
    return Boxes(
        timescale=timescale, skipped_s=Fraction(max(0, skipped), timescale),
        starts_s=tuple(starts), durations_s=tuple(durations), samples=tuple(samples),
    )  # fmt: skip


def _run(traf: bytes, duration: int) -> tuple[int, int]:
    """Samples and ticks of a fragment."""
    header = _box(traf, "tfhd")
    flags = int.from_bytes(header[1:4], "big")
    if flags & 0x8:
        duration = struct.unpack_from(">I", header, 8 + 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2))[0]
    units = ticks = 0
    for kind, run in _boxes(traf):
        if kind != "trun":
            continue
        flags, count = int.from_bytes(run[1:4], "big"), struct.unpack_from(">I", run, 4)[0]
        place = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
        width = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
        own = (struct.unpack_from(">I", run, place + width * number)[0] for number in range(count))
        units, ticks = units + count, ticks + (sum(own) if flags & 0x100 else count * duration)
    return units, ticks


def _boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    place = 0
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        assert 8 <= size <= len(data) - place, f"the box {kind!r} has a wrong size"
        yield kind.decode("latin-1"), data[place + 8 : place + size]
        place += size


def _box(data: bytes, *path: str, missing: bytes | None = None) -> bytes:
    for step in path:
        found = next((body for kind, body in _boxes(data) if kind == step), missing)
        assert found is not None, f"there is no box {'.'.join(path)}"
        data = found
    return data


def drift_s(track: Track) -> float:
    """How far the manifest's times lie from those of the boxes at most, over the starts of all segments."""
    boxes = track.boxes
    skipped = boxes.skipped_s
    ends = [abs(listed.start_s - max(Fraction(0), at - skipped)) for listed, at in
            zip(track.segments, boxes.starts_s, strict=True)]  # fmt: skip
    return float(max(ends, default=Fraction(0)))
